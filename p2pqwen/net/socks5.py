"""SOCKS5 (RFC 1928, RFC 1929): the protocol in one place, for client and server.

Each of our HTTP clients has its own SOCKS library, and none goes through the guard; the protocol is only 2 requests. It
is written as steps, so that a blocking socket and one in an event loop can both run it.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Generator

from p2pqwen.values.proxy import Proxy

VERSION = 5
NO_AUTHENTICATION, PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
_REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}

_Steps = Generator[tuple[bytes, int], bytes, None]
"""What to send, and how many bytes to read after that."""


class SocksError(ConnectionError):
    """The proxy refuses, or is not one; `strerror` says how, for libraries that print only that."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNREFUSED, text)

    def __str__(self) -> str:
        return str(self.strerror)


def ask(connected: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Make the proxy at the other end connect to a host, which it resolves; raises `SocksError`, `OSError`."""
    _drive(connected, _asking(proxy, host, port))


def greet(connected: socket.socket, proxy: Proxy) -> None:
    """Authenticate at the proxy at the other end, and request nothing; raises as `ask` does."""
    _drive(connected, _authenticating(proxy))


async def ask_soon(connected: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Do what `ask` does, on a nonblocking socket in the running event loop."""
    loop, steps = asyncio.get_running_loop(), _asking(proxy, host, port)
    said, wanted = next(steps)
    while True:
        await loop.sock_sendall(connected, said)
        data = b""
        while len(data) < wanted:
            data += _some(await loop.sock_recv(connected, wanted - len(data)))
        try:
            said, wanted = steps.send(data)
        except StopIteration:
            return


def _drive(connected: socket.socket, steps: _Steps) -> None:
    said, wanted = next(steps)
    while True:
        connected.sendall(said)
        data = b""
        while len(data) < wanted:
            data += _some(connected.recv(wanted - len(data)))
        try:
            said, wanted = steps.send(data)
        except StopIteration:
            return


def _asking(proxy: Proxy, host: str, port: int) -> _Steps:
    yield from _authenticating(proxy)
    head = yield bytes((VERSION, CONNECT, 0)) + _address(host) + port.to_bytes(2, "big"), 4
    version, reply, _, kind = head
    if version != VERSION:
        raise SocksError(f"{proxy.address} does not speak SOCKS5")
    if reply:
        why = _REFUSALS.get(reply, f"code {reply}")
        raise SocksError(f"the proxy {proxy.address} cannot reach {host}: {why}")
    length = {IPV4: 4, IPV6: 16}.get(kind)
    if length is None:
        length = (yield b"", 1)[0]
    yield b"", length + 2


def _authenticating(proxy: Proxy) -> _Steps:
    methods = bytes((NO_AUTHENTICATION, PASSWORD)) if proxy.user else bytes((NO_AUTHENTICATION,))
    version, method = yield bytes((VERSION, len(methods))) + methods, 2
    if version != VERSION:
        raise SocksError(f"{proxy.address} does not speak SOCKS5")
    if method == PASSWORD and proxy.user:
        user, password = proxy.user.encode()[:255], proxy.password.encode()[:255]
        answer = yield bytes((1, len(user))) + user + bytes((len(password),)) + password, 2
        if answer[1]:
            raise SocksError(f"the proxy {proxy.address} refuses the user name or the password")
    elif method != NO_AUTHENTICATION:
        raise SocksError(f"the proxy {proxy.address} asks for an unsupported kind of credentials")


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes((NAME, len(name))) + name
    return bytes((IPV4 if address.version == 4 else IPV6,)) + address.packed


def _some(part: bytes) -> bytes:
    if not part:
        raise SocksError("the SOCKS5 proxy closed the connection")
    return part
