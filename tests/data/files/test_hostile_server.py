"""Downloads without a published checksum (the LRA archive) from a server that lies, is slow, or answers oddly."""

import gzip
import io
import re
import socketserver
import tarfile
import threading
import time

import numpy as np
import pytest

from seqboat_lab.cli import main
from seqboat_lab.data.files import sources
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.sources import Source, download

BODY = gzip.compress(np.random.default_rng(0).bytes(40_000))
OTHER = gzip.compress(np.random.default_rng(1).bytes(40_000))
HTML = b"<!DOCTYPE html><html><body>Please accept our terms</body></html>" * 20


def answer(body, *headers, status="200 OK"):
    return f"HTTP/1.1 {status}\r\n{''.join(h + chr(13) + chr(10) for h in headers)}\r\n".encode() + body


def whole(body, *headers, status="200 OK"):
    return answer(body, f"Content-Length: {len(body)}", *headers, status=status)


class Server(socketserver.ThreadingTCPServer):
    """Answers each request with the next of `answers` (bytes, or a function of the request that yields bytes)."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/data.gz"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self.rfile.readline() or b"\r\n\r\n"
        answers = self.server.answers
        self.server.requests.append(request.decode())
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            for piece in chosen(request.decode()) if callable(chosen) else [chosen]:
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(sources, "PAUSE", 0.001)
    monkeypatch.setattr(sources, "TIMEOUT", 0.3)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def source(server, **changes):
    fields = {"size": None, "sha256": None, "offline": "use data.source=generated"} | changes
    return Source("data.gz", (server.url,), **fields)


def refused(server, directory, **changes):
    start = time.monotonic()
    with pytest.raises(DataError) as raised:
        download(source(server, **changes), directory)
    assert time.monotonic() - start < 5
    message = str(raised.value)
    assert "\n" not in message
    assert server.url in message
    assert "data.source=generated" in message
    assert not (directory / "data.gz").exists()
    return message


def test_a_web_page_is_no_archive(server, tmp_path):
    server.answers = [whole(HTML, "Content-Type: text/html")]
    assert re.search(
        r"not a gz archive, but what begins with .*<!DOCTYPE html.*\(text/html\)", refused(server, tmp_path)
    )
    server.answers = [whole(BODY)]
    assert download(source(server), tmp_path).read_bytes() == BODY


def test_a_body_that_says_nowhere_where_it_ends_is_not_taken(server, tmp_path):
    server.answers = [answer(BODY[:9000], "Connection: close")]
    assert "does not say how long the file is" in refused(server, tmp_path)


def test_a_body_in_chunks_says_where_it_ends(server, tmp_path):
    chunk = b"%x\r\n" % len(BODY) + BODY + b"\r\n"
    server.answers = [
        answer(chunk, "Transfer-Encoding: chunked"),
        answer(chunk + b"0\r\n\r\n", "Transfer-Encoding: chunked"),
    ]
    assert download(source(server), tmp_path).read_bytes() == BODY


def ranges(body, etag, cut=None):
    """A correct server of one version of the file, which breaks off after `cut` bytes."""

    def respond(request):
        start = int(found[1]) if (found := re.search(r"Range: bytes=(\d+)-", request)) else 0
        if start and f"If-Range: {etag}" in request:
            header = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"
            yield answer(body[start:cut], f"Content-Length: {len(body) - start}", header, status="206 Partial Content")
        else:
            yield answer(body[:cut], f"Content-Length: {len(body)}", f"ETag: {etag}")

    return respond


def test_the_same_version_is_resumed(server, tmp_path):
    server.answers = [ranges(BODY, '"1"', 7000), ranges(BODY, '"1"')]
    assert download(source(server), tmp_path).read_bytes() == BODY
    assert "Range: bytes=7000-" in server.requests[1]
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["data.gz"]


def test_another_version_is_never_joined_to_what_came_before(server, tmp_path):
    server.answers = [ranges(OTHER, '"1"', 7000), ranges(BODY, '"2"')]
    assert download(source(server), tmp_path).read_bytes() == BODY


def test_a_stale_partial_of_unknown_origin_is_not_joined(server, tmp_path):
    (tmp_path / ".data.gz.download").write_bytes(OTHER[:7000])
    server.answers = [ranges(BODY, '"1"')]
    assert download(source(server), tmp_path).read_bytes() == BODY
    assert "Range" not in server.requests[0]


def dripping(first=b""):
    def respond(_):
        yield first
        for byte in BODY[:200]:
            yield bytes([byte])
            time.sleep(0.05)

    return respond


@pytest.mark.parametrize("first", [b"", whole(BODY)[: -len(BODY)]])
def test_a_server_that_drips_is_given_up(server, tmp_path, monkeypatch, first):
    """In its header, and in the file: bytes keep coming, so that no timeout of a socket ends it."""
    monkeypatch.setattr(sources, "WINDOW", 0.5)
    server.answers = [dripping(first)]
    assert re.search("too slow" if first else "no answer within|no connection", refused(server, tmp_path))


def test_a_server_that_sends_a_byte_and_breaks_off_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "WINDOW", 0.5)

    def byte_by_byte(request):
        start = int(found[1]) if (found := re.search(r"Range: bytes=(\d+)-", request)) else 0
        time.sleep(0.02)
        yield from ranges(BODY, '"1"', start + 1)(request)

    server.answers = [byte_by_byte]
    assert "too slow" in refused(server, tmp_path)


def endless(_):
    yield answer(b"", "Transfer-Encoding: chunked")
    while True:
        yield b"%x\r\n" % len(BODY) + BODY + b"\r\n"


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        (b"", "no connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no connection"),
        (b"\0" * 3000 + b"\r\n\r\n", "no connection"),
        (answer(BODY, "Content-Length: abc"), "a length of 'abc'"),
        (answer(BODY, "Content-Length: -5"), "a length of '-5'"),
        (answer(BODY, f"Content-Length: {'9' * 5000}"), "a length of '999"),
        (answer(BODY, f"Content-Length: {10**15}"), "expected at most"),
        (whole(BODY, "Content-Range: bytes 5-9/10", status="206 Partial Content"), "the connection ended"),
        (answer(b"", status="204 No Content"), "HTTP 204 without a file"),
        (answer(b"", "Location: http://[", status="302 Found"), "makes no sense"),
        (answer(b"", "Location: /again", status="302 Found"), "HTTP 302"),
        (answer(b"", "Location: file:///etc/passwd", status="302 Found"), "HTTP 302"),
        (whole(b"no", status="403 Forbidden\x1b[31m"), "HTTP 403"),
        (answer(BODY, *[f"X-{i}: y" for i in range(500)]), "no connection"),
        (endless, "more comes than such a file can have"),
    ],
)
def test_every_odd_answer_is_one_line(server, tmp_path, odd, problem):
    server.answers = [odd]
    assert problem in refused(server, tmp_path, largest=200_000)


def archive_of_listops() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for split in ("train", "val", "test"):
            data = b"Source\tTarget\n" + b"( [MAX 1 2 ] )\t2\n" * 20
            info = tarfile.TarInfo(f"lra_release/lra_release/listops-1000/basic_{split}.tsv")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_a_bad_download_is_set_aside_and_the_next_call_downloads_again(server, tmp_path, monkeypatch, capsys):
    good = archive_of_listops()
    server.answers = [whole(good[:-20]), whole(good)]
    monkeypatch.setitem(sources.SOURCES, "lra_release", Source("lra_release.gz", (server.url,), None, None, "offline"))
    command = ["data", "prepare", "listops", f"root={tmp_path}"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "it was moved to lra_release.gz.damaged" in told
    assert (tmp_path / "downloads/lra_release.gz.damaged").read_bytes() == good[:-20]
    assert main(command) == 0
    assert "20 train" in capsys.readouterr().out


def test_a_bad_archive_of_the_user_stays_where_it_is(tmp_path, capsys):
    mine = tmp_path / "mine.gz"
    mine.write_bytes(archive_of_listops()[:-20])
    assert main(["data", "prepare", "listops", f"root={tmp_path}/data", "--from", str(mine)]) == 2
    assert mine.exists()
    assert capsys.readouterr().err.count("\n") == 1
