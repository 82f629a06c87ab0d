"""Names, addresses and servers for tests of where connections may go. All traffic stays on loopback.

`Names` replaces the DNS. 127.0.0.5 replaces a public address: tests declare it one, and everything else is real. A
`Victim` is a service on this machine that outsiders must not reach; it counts its callers.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from p2pqwen.values import address_class, host, named_hosts
from p2pqwen.values.address_class import AddressClass
from p2pqwen.values.named_hosts import NamedHosts

LOOPBACK = NamedHosts.of(["http://127.0.0.1"])
"""A user who named this machine, like most users in tests."""
PUBLIC = "127.0.0.5"
"""Counts as public once a test has said so with `declare_public`."""
VICTIM = "127.0.0.1"


class Names:
    """A simulated name server: `names["a.example"] = [first answer, second answer, …]`; the last answer repeats."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __setitem__(self, name: str, answers: list[Sequence[str]]) -> None:
        self.answers[name] = answers

    def getaddrinfo(
        self,
        name: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as the system names it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        text = name.decode() if isinstance(name, bytes) else name
        if text in self.answers:
            self.asked.append(text)
            left = self.answers[text]
            found = left.pop(0) if len(left) > 1 else left[0]
            return [row for one in found for row in self._real(one, port, family, type, proto, flags)]
        if text is None or text == "localhost" or _is_address(text):
            return self._real(name, port, family, type, proto, flags)
        raise socket.gaierror(socket.EAI_NONAME, "no such name in this test")


def stand_in_for_dns(monkeypatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def declare_public(monkeypatch, *addresses: str) -> None:
    """Make these addresses count as public."""
    public = {ipaddress.ip_address(one) for one in addresses}

    def classify(address: Any) -> AddressClass:
        ip = ipaddress.ip_address(str(address).partition("%")[0])
        return AddressClass.PUBLIC if ip in public else address_class.classify(ip)

    monkeypatch.setattr(host, "classify", classify)
    monkeypatch.setattr(named_hosts, "classify", classify)


class WebServer(ThreadingHTTPServer):
    """Answers every request with a redirect to `redirect` (None: 404), and counts requests."""

    daemon_threads = True

    def __init__(self, address: str, port: int = 0, redirect: str | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)
        self.hits: list[str] = []
        self.authorizations: list[str | None] = []
        self.redirect = redirect

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.hits.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        self.send_response(404 if self.server.redirect is None else 302)
        if self.server.redirect is not None:
            self.send_header("Location", self.server.redirect)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET  # noqa: N815 - as http.server names them

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served_by_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """Answer from a thread for the length of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def web_server(address: str, port: int = 0, redirect: str | None = None) -> Iterator[WebServer]:
    with WebServer(address, port, redirect) as server, served_by_thread(server):
        yield server


class Victim:
    """One service of this machine, on 127.0.0.1 and on ::1, at the same port."""

    def __init__(self, *servers: WebServer) -> None:
        self._servers = servers
        self.port = servers[0].port

    @property
    def hits(self) -> list[str]:
        return [hit for server in self._servers for hit in server.hits]


@contextmanager
def victim() -> Iterator[Victim]:
    with web_server(VICTIM) as four:
        try:
            six = WebServer("::1", four.port)
        except OSError:  # a machine without IPv6, or another service has that port
            yield Victim(four)
            return
        six.server_close()
        with web_server("::1", four.port) as running:
            yield Victim(four, running)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
