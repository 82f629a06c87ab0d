"""Proxies on loopback, HTTP (with CONNECT) and SOCKS5, that connect every request to one test server.

A SOCKS5 proxy without such a server connects to the requested address, and to 127.0.0.1 for every name.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import cast

from tests.support.addresses import served_by_thread

_BLOCK = 65536


class ProxyServer(socketserver.ThreadingTCPServer):
    """Connects every request to the port `leads_to`, and records it in `asked`. `login`: `user:password`.

    `leads_to` None: connects to the requested address.
    """

    daemon_threads = True

    def __init__(
        self,
        handler: type[socketserver.BaseRequestHandler],
        leads_to: int | None,
        login: str | None,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__((address, 0), handler)
        self.leads_to, self.login = leads_to, login
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(socketserver.BaseRequestHandler):
    @property
    def proxy(self) -> ProxyServer:
        return cast("ProxyServer", self.server)

    def lead(self, first: bytes = b"", *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Copy both ways until one side ends."""
        where = (host, port) if self.proxy.leads_to is None else ("127.0.0.1", self.proxy.leads_to)
        with contextlib.suppress(OSError), socket.create_connection(where, 10) as there:
            there.sendall(first)
            threading.Thread(target=_copy, args=(self.request, there), daemon=True).start()
            _copy(there, self.request)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.request.recv(count - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data


class _Http(_Handler):
    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.request.recv(1)
            if not part:
                return
            head += part
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.decode().split(" ")
        if self.proxy.login is not None:
            wanted = b"basic " + base64.b64encode(self.proxy.login.encode())
            if not any(line.lower() == b"proxy-authorization: " + wanted.lower() for line in lines):
                self.request.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
        if method == "CONNECT":
            self.proxy.asked.append(f"CONNECT {target}")
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.lead()
            return
        host, _, path = target.partition("://")[2].partition("/")
        self.proxy.asked.append(f"{method} {host}")
        kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
        self.lead(f"{method} /{path} HTTP/1.1\r\nConnection: close\r\n".encode() + b"\r\n".join(kept))


class _Socks(_Handler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._serve()

    def _serve(self) -> None:
        _, count = self.read(2)
        methods = self.read(count)
        if self.proxy.login is None:
            self.request.sendall(b"\x05\x00")
        elif 2 not in methods:
            self.request.sendall(b"\x05\xff")
            return
        else:
            self.request.sendall(b"\x05\x02")
            user = self.read(self.read(2)[1])
            password = self.read(self.read(1)[0])
            right = b":".join((user, password)) == self.proxy.login.encode()
            self.request.sendall(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return
        _, _, _, kind = self.read(4)
        if kind != 3 and not (kind == 1 and self.proxy.leads_to is None):
            self.request.sendall(b"\x05\x08\x00\x01" + bytes(6))
            return
        name = self.read(self.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self.read(4))
        port = int.from_bytes(self.read(2), "big")
        self.proxy.asked.append(f"SOCKS {name}:{port}")
        if name == "nowhere.example":
            self.request.sendall(b"\x05\x04\x00\x01" + bytes(6))
            return
        self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
        self.lead(host=name if kind == 1 else "127.0.0.1", port=port)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BLOCK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def proxy(kind: str, leads_to: int | None, *, login: str | None = None) -> Iterator[ProxyServer]:
    """Run an `http` or `socks5` proxy for the length of the block."""
    with ProxyServer({"http": _Http, "socks5": _Socks}[kind], leads_to, login) as server, served_by_thread(server):
        yield server


if __name__ == "__main__":  # in its own namespace: prints its port, then its requests

    class _Told(list[str]):
        def append(self, line: str) -> None:
            print(line, flush=True)

    with ProxyServer(_Socks, None, None, sys.argv[1]) as alone:
        alone.asked = _Told()
        print(f"port {alone.port}", flush=True)
        alone.serve_forever()
