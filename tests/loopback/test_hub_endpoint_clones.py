"""Clones at the Hub's place: a few at once, each as fast as it is taken; what a client leaves behind ends."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.hub.git_upload_pack import error_line
from p2pqwen.server import hub_git
from p2pqwen.server.hub_endpoint import HubEndpoint
from tests.support.hub_endpoint import ask
from tests.support.waiting import PATIENT, wait_until

PATH = "/Qwen/Tiny/git-upload-pack"
PIECE = b"x" * 65_000
PIECES = 4000
"""260 MB: no buffer on the way takes it."""


class Clones:
    """A `GitSide` whose clones have no end worth waiting for, and that tells how far they have come."""

    def __init__(self) -> None:
        self.made = self.running = 0
        self.waits = self.fails = False
        self.given = threading.Event()

    def advertise(self, repo):
        return b""

    def refusal(self, message):
        return error_line(message)

    def lfs(self, repo, oids):
        return {}

    def upload_pack(self, repo, request, gone):
        if self.fails:
            raise NetworkError("nobody has it")
        return self.pieces(gone)

    def pieces(self, gone):
        self.running += 1
        try:
            for _ in range(PIECES):
                while self.waits and not gone():
                    self.given.wait(0.05)
                self.made += 1
                yield PIECE
        finally:
            self.running -= 1


@pytest.fixture
def side(monkeypatch):
    monkeypatch.setattr(hub_git, "CLONES", 2)
    return Clones()


@pytest.fixture
def endpoint(side):
    with HubEndpoint(None, git=side) as running:
        yield running


@contextmanager
def cloning(endpoint, body=b"0000"):
    """Ask for a clone, and read nothing of it."""
    parts = urlsplit(endpoint.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60 * PATIENT) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        yield connection


def until(condition, what):
    wait_until(condition, 60 * PATIENT, what)


def test_169_a_client_that_goes_away_leaves_nothing(endpoint, side):
    with cloning(endpoint):
        until(lambda: side.made, "a clone that has begun")
    until(lambda: not side.running, "the end of it")
    assert side.made < PIECES // 4


def test_169_a_client_that_does_not_read_is_cut_off(endpoint, side, monkeypatch):
    monkeypatch.setattr(hub_git, "IDLE_SECONDS", 0.5)
    with cloning(endpoint):
        until(lambda: side.made and not side.running, "the end of it")
    assert side.made < PIECES // 4


def test_169_who_waits_for_bytes_that_do_not_come_and_goes_leaves_nothing(endpoint, side):
    side.waits = True
    with cloning(endpoint):
        until(lambda: side.running, "a clone that waits")
    until(lambda: not side.running, "the end of it")


def test_169_beyond_the_limit_git_is_told_and_later_there_is_room(endpoint, side):
    with cloning(endpoint), cloning(endpoint):
        until(lambda: side.running == 2, "two clones")
        answer = ask(endpoint.url, PATH, method="POST", body=b"0000")
        assert answer.status == 200
        assert answer.body[4:].startswith(b"ERR 2 clones are being served")
        assert ask(endpoint.url, "/nothing").status == 404  # others are answered
    until(lambda: not side.running, "the end of both")
    side.fails = True
    until(lambda: ask(endpoint.url, PATH, method="POST", body=b"0000").status == 504, "room for another")


def test_169_the_endpoint_ends_beside_clones_that_wait(side):
    side.waits = True
    with ExitStack() as clients:
        with HubEndpoint(None, git=side) as endpoint:
            clients.enter_context(cloning(endpoint))
            until(lambda: side.running, "a clone that waits")
        until(lambda: not side.running, "the end of it")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"0000" * (1 << 19), {}, 413),
        (gzip.compress(b"0000" * (64 << 18)), {"Content-Encoding": "gzip"}, 413),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400),
    ],
    ids=["long", "bomb", "none"],
)
def test_170_bodies_without_end_or_packed(endpoint, body, headers, status):
    parts = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60 * PATIENT)
    connection.request("POST", PATH, body=body, headers=headers)
    assert connection.getresponse().status == status
    connection.close()
