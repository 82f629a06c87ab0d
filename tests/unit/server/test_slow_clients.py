"""Who asks slowly, or nothing, takes no room from others: at the Hub's place and at what a node serves over TCP."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.events import Happened
from p2pqwen.net import web_server
from p2pqwen.net.web_server import Patience
from p2pqwen.server.control import ControlServer
from p2pqwen.server.hub_endpoint import HubEndpoint
from tests.support.hub_endpoint import ask
from tests.support.waiting import PATIENT

SECONDS = 60 * PATIENT
SERVERS = ("hub", "control", "metrics", "dashboard")
LONG = Patience(connections=8, asking=4, grace=0.0, head=10 * SECONDS, body=10 * SECONDS)
HEAD = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/models/a/b/paths-info/main HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\n"
TRICKLES = {
    "nothing": b"",
    "a head without end": HEAD,
    "a line without end": HEAD + b"X-Long: " + b"a" * 8000,
    "many lines": HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 8000) for number in range(60)),
    "a body without end": POST + b"[" * 100_000,
    "answered, and then nothing": HEAD + b"\r\n",
}


@contextlib.contextmanager
def serving(home: Path, monkeypatch, patience: Patience) -> Iterator[dict[str, int]]:
    """All servers of ours with this patience, by the ports they are asked at."""
    made, told = web_server.WebServer, []
    for module in ("control", "hub_endpoint"):
        place = f"p2pqwen.server.{module}.WebServer"
        monkeypatch.setattr(place, lambda app, **given: made(app, **given, patience=patience))
    anywhere = ("127.0.0.1", 0)
    control = ControlServer(
        home, {}, {}, metrics_on=anywhere, dashboard_on=anywhere, force_loopback=True, report=told.append
    )
    with control, HubEndpoint(None) as hub:
        ports = {one.event: one.facts["port"] for one in told if isinstance(one, Happened)}
        yield {**ports, "control": json.loads((home / "control.json").read_text())["port"], "hub": hub.port}


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    with contextlib.suppress(ConnectionError):
        connection.sendall(sent)
    return connection


def end(connection: socket.socket) -> bytes:
    """What a connection answers until its other side ends it."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while got := connection.recv(65536):
            found += got
    return found


@pytest.fixture(params=SERVERS)
def where(request):
    return request.param


@pytest.mark.parametrize("sent", TRICKLES.values(), ids=TRICKLES)
def test_171_the_one_that_asks_for_longest_makes_room(tmp_path, monkeypatch, where, sent):
    with serving(tmp_path, monkeypatch, LONG) as ports, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(ports[where], sent)) for _ in range(LONG.asking)]
        for _ in range(LONG.asking):
            assert ask(f"http://127.0.0.1:{ports[where]}", "/nothing").status in {401, 404}
        end(slow[0])  # it has been ended, or this waits until it fails
    # and all servers have stopped, with such clients there


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b""), (HEAD, b""), (POST, b"HTTP/1.1 408"), (POST + b"[" * 70_000, b"HTTP/1.1 408")],
    ids=range(4),
)
def test_171_nobody_may_ask_for_long(tmp_path, monkeypatch, sent, answer):
    patience = replace(LONG, head=0.2, body=0.2)
    with serving(tmp_path, monkeypatch, patience) as ports, connect(ports["hub"], sent) as slow:
        assert slow.recv(12) == answer


def test_171_of_many_that_come_at_once_none_makes_room(tmp_path, monkeypatch):
    patience = Patience(connections=200, asking=2, head=SECONDS, body=SECONDS, grace=SECONDS)
    with serving(tmp_path, monkeypatch, patience) as ports, contextlib.ExitStack() as stack:
        many = [stack.enter_context(connect(ports["hub"], HEAD)) for _ in range(100)]
        for one in many:
            one.sendall(b"\r\n")
            assert one.recv(12) == b"HTTP/1.1 404"


def test_171_requests_sent_without_waiting_are_answered_in_turn(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch, LONG) as ports, connect(ports["hub"]) as one:
        one.sendall((HEAD + b"\r\n") * 500 + HEAD + b"Connection: close\r\n\r\n")
        assert end(one).count(b"HTTP/1.1 404") == 501


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X: " + b"a" * 100_000, b"400"),
        (HEAD + b"X: y\r\n" * 100 + b"\r\n", b"400"),
        (HEAD + b"Content-Length: 99999999\r\n\r\n" + b"a" * 2_000_000, b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f4240\r\n" + b"a" * 1_000_000 + b"\r\nf4240\r\naa", b""),
    ],
    ids=["line", "lines", "body", "chunks"],
)
def test_171_what_is_too_long_is_left(tmp_path, monkeypatch, sent, status):
    patience = replace(LONG, body=0.5)
    with serving(tmp_path, monkeypatch, patience) as ports, connect(ports["hub"], sent) as one:
        assert one.recv(12)[9:] in {status, b"413", b"408"}


def test_every_server_listens_so():
    """But for the demo's Hub, which only its own user asks; in `webseed`, one has limits of its own, one a secret."""
    package, calls = Path(p2pqwen.__file__).parent, re.compile(r"web\.(?:AppRunner|Server|ServerRunner|run_app)\(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.parent.name != "demo" and calls.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"net/web_server.py", "webseed/file_server.py", "webseed/relay.py"}
