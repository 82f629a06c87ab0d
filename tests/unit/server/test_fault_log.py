"""Nobody makes our servers write to the log: what is no HTTP is answered, and that is all."""

from __future__ import annotations

import ast
import json
import logging
import socket
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.events import Happened
from p2pqwen.server.control import ControlServer

TLS = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03"
"""How a browser begins that was told https://."""
PACKAGE = Path(p2pqwen.__file__).parent


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Where a node is asked over TCP: the control API without unix sockets, its metrics, its dashboard."""
    home, told = tmp_path_factory.mktemp("home"), []
    anywhere = ("127.0.0.1", 0)
    server = ControlServer(
        home, {}, {}, metrics_on=anywhere, dashboard_on=anywhere, force_loopback=True, report=told.append
    )
    with server:
        found = {one.event: one.facts["port"] for one in told if isinstance(one, Happened)}
        yield {**found, "control": json.loads((home / "control.json").read_text())["port"]}


@pytest.mark.parametrize("where", ["control", "metrics", "dashboard"])
@pytest.mark.parametrize(
    "sent", [TLS, b"\x1b]0;x\x07 / HTTP/1.1\r\n\r\n", b"GET * HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
def test_167_what_is_no_http_is_not_written_down(ports, caplog, where, sent):
    with caplog.at_level(logging.DEBUG, "aiohttp.server"), socket.create_connection(("127.0.0.1", ports[where])) as one:
        one.settimeout(30)
        one.sendall(sent)
        assert b" 400 " in one.recv(100)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_every_server_has_that_log():
    """But for the demo's Hub, which only its own user asks."""
    without = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "demo"
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"web.AppRunner", "web.Server"}
        if not any(one.arg == "logger" and ast.unparse(one.value) == "fault_log()" for one in call.keywords)
    ]
    assert without == []
