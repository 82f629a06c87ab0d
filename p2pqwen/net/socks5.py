"""SOCKS5 (RFC 1928, RFC 1929) on a connected socket: the one place for all our HTTP clients.

Each of them has a SOCKS library of its own, of which none goes through the guard; the protocol is two questions.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from p2pqwen.values.proxy import Proxy

_VERSION = 5
_NO_AUTHENTICATION, _PASSWORD = 0, 2
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
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


class SocksError(ConnectionError):
    """The proxy does not do what was asked, or is none; `strerror` says how, for libraries that print nothing else."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNREFUSED, text)

    def __str__(self) -> str:
        return str(self.strerror)


def ask(connected: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy at the other end connect to a host, which it resolves; raises `SocksError`, `OSError`."""
    _authenticate(connected, proxy)
    connected.sendall(bytes((_VERSION, _CONNECT, 0)) + _address(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = _read(connected, 4)
    if version != _VERSION:
        raise SocksError(f"{proxy.address} does not speak SOCKS5")
    if reply:
        why = _REFUSALS.get(reply, f"code {reply}")
        raise SocksError(f"the proxy {proxy.address} cannot reach {host}: {why}")
    length = {_IPV4: 4, _IPV6: 16}.get(kind)
    _read(connected, (_read(connected, 1)[0] if length is None else length) + 2)


def _authenticate(connected: socket.socket, proxy: Proxy) -> None:
    methods = bytes((_NO_AUTHENTICATION, _PASSWORD)) if proxy.user else bytes((_NO_AUTHENTICATION,))
    connected.sendall(bytes((_VERSION, len(methods))) + methods)
    version, method = _read(connected, 2)
    if version != _VERSION:
        raise SocksError(f"{proxy.address} does not speak SOCKS5")
    if method == _PASSWORD and proxy.user:
        user, password = proxy.user.encode()[:255], proxy.password.encode()[:255]
        connected.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        if _read(connected, 2)[1]:
            raise SocksError(f"the proxy {proxy.address} refuses the user name or the password")
    elif method != _NO_AUTHENTICATION:
        raise SocksError(f"the proxy {proxy.address} asks for an unsupported kind of credentials")


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


def _read(connected: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connected.recv(count - len(data))
        if not part:
            raise SocksError("the SOCKS5 proxy closed the connection")
        data += part
    return data
