"""Downloads against a local server that misbehaves."""

import hashlib
import http.server
import multiprocessing
import re
import threading
from dataclasses import replace

import pytest

from seqboat_lab.data.files import sources
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.sources import SOURCES, Source, download

BODY = bytes(i * 7 % 251 for i in range(300_000))
SHA = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; `requests` holds each request's path and Range."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        name, range_ = self.path[1:], self.headers.get("Range")
        earlier = sum(path == name for path, _ in self.server.requests)
        self.server.requests.append((name, range_))
        if name == "gone":
            self.send_error(404)
            return
        if name == "busy" and earlier < 2:
            self.send_error(503)
            return
        body = {"wrong": BODY[::-1], "short": BODY[:-10]}.get(name, BODY)
        start = int(re.fullmatch(r"bytes=(\d+)-", range_)[1]) if range_ and name != "no-range" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if name in ("drop", "no-range") and earlier == 0:
            stop = len(body) // 2
        if name == "always-drop":
            stop = start if earlier else 1000
        self.wfile.write(body[start:stop])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(sources, "PAUSE", 0.001)
    running = Server()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def source(*urls: str, **changes) -> Source:
    return replace(Source("data.tar", urls, len(BODY), SHA, "use data.source=synthetic"), **changes)


def visible(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    target = download(source(server.url("good")), tmp_path)
    assert target == tmp_path / "data.tar"
    assert target.read_bytes() == BODY
    download(source(server.url("good")), tmp_path)
    assert len(server.requests) == 1
    assert visible(tmp_path) == ["data.tar"]


def test_a_dropped_connection_is_resumed_where_it_broke(server, tmp_path):
    assert download(source(server.url("drop")), tmp_path).read_bytes() == BODY
    assert server.requests == [("drop", None), ("drop", "bytes=150000-")]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    assert download(source(server.url("no-range")), tmp_path).read_bytes() == BODY


def test_a_later_run_resumes_what_an_earlier_one_left(server, tmp_path):
    (tmp_path / ".data.tar.download").write_bytes(BODY[:100_000])
    assert download(source(server.url("good")), tmp_path).read_bytes() == BODY
    assert server.requests == [("good", "bytes=100000-")]


def test_a_connection_that_always_drops_gives_up_and_keeps_what_it_has_for_later(server, tmp_path):
    with pytest.raises(DataError, match="the connection ended after 1000 bytes"):
        download(source(server.url("always-drop")), tmp_path)
    assert visible(tmp_path) == [".data.tar.download"]
    assert (tmp_path / ".data.tar.download").read_bytes() == BODY[:1000]


def test_a_busy_server_is_asked_again(server, tmp_path):
    assert download(source(server.url("busy")), tmp_path).read_bytes() == BODY
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone", "HTTP 404 Not Found"),
        ("short", "the file there has 299990 bytes, expected 300000"),
        ("wrong", f"SHA-256 is {hashlib.sha256(BODY[::-1]).hexdigest()}, expected {SHA}"),
    ],
)
def test_what_is_wrong_is_named_with_url_path_and_alternative_and_leaves_nothing(server, tmp_path, name, problem):
    with pytest.raises(DataError) as raised:
        download(source(server.url(name)), tmp_path)
    message = str(raised.value)
    for part in (server.url(name), str(tmp_path / "data.tar"), problem, "--from", "data.source=synthetic"):
        assert part in message
    assert "\n" not in message
    assert visible(tmp_path) == []


def test_a_wrong_length_that_was_not_announced_is_found(server, tmp_path):
    """The announced length agrees with what is sent, but not with what was published (known only afterwards)."""
    with pytest.raises(DataError, match="expected 300000"):
        download(source(server.url("short"), sha256=None), tmp_path)
    (tmp_path / ".data.tar.download").write_bytes(BODY + b"more")
    assert download(source(server.url("good")), tmp_path).read_bytes() == BODY


def test_the_next_mirror_is_tried(server, tmp_path):
    closed = "http://127.0.0.1:1/data.tar"
    mirrors = source(closed, server.url("gone"), server.url("wrong"), server.url("good"))
    assert download(mirrors, tmp_path).read_bytes() == BODY


def test_no_network_is_one_clear_line(tmp_path):
    with pytest.raises(DataError) as raised:
        download(source("http://127.0.0.1:1/data.tar"), tmp_path)
    message = str(raised.value)
    assert "no connection" in message
    assert "http://127.0.0.1:1/data.tar" in message
    assert "data.source=synthetic" in message
    assert "\n" not in message


def download_at(source, directory, barrier):
    barrier.wait()
    download(source, directory)


def test_two_processes_download_once(server, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    both = [context.Process(target=download_at, args=(source(server.url("good")), tmp_path, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert len(server.requests) == 1
    assert visible(tmp_path) == ["data.tar"]


def test_the_table_of_sources_is_well_formed():
    for one in SOURCES.values():
        assert one.urls
        assert all(re.fullmatch(r"https?://[^ ]+", url) for url in one.urls)
        assert one.sha256 is None or re.fullmatch("[0-9a-f]{64}", one.sha256)
        assert "data.source=" in one.offline or "task corpus" in one.offline
