"""A mirror that misbehaves on purpose, on its own loopback port."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request; `server.answers` maps a path to its answer."""

    server: MirrorServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.headers_seen.append(dict(self.headers))
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
        else:
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


class MirrorServer(ThreadingHTTPServer):
    """Serves `answers`; remembers its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers_seen: list[dict[str, str]] = []
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def mirror() -> Iterator[MirrorServer]:
    """Run such a server for the length of the block."""
    server = MirrorServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def gives(data: bytes, status: int = 200, **headers: str) -> Answer:
    """A plain answer."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirects(target: str, status: int = 302) -> Answer:
    return gives(b"", status, Location=target)


def gzipped(data: bytes) -> Answer:
    return gives(gzip.compress(data), Content_Encoding="gzip")


def hangs(handler: Handler) -> None:
    """Takes the request and never answers."""
    handler.server.stopping.wait()
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """Sends one byte at a time, forever."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.server.stopping.wait(0.02):
        handler.wfile.write(b" ")
    handler.close_connection = True


def floods(handler: Handler) -> None:
    """Sends bytes without end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.server.stopping.is_set():
        handler.wfile.write(b" " * 65536)
    handler.close_connection = True


def breaks_off(data: bytes) -> Answer:
    """Announces more bytes than it sends."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) + 100))
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True

    return answer
