"""aiohttp's side of the guard: a session that asks only where it may, and follows no redirect by itself.

Each URL is judged before it is asked, each name when it is resolved, and each address once more when a socket is opened
for it. Redirects are the caller's to follow, with another `get`, so that each of them is judged as well. No cookies, no
content encoding, no credentials but those that the caller sends with one request.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from p2pqwen import __version__
from p2pqwen.values.address_class import Address
from p2pqwen.values.host import Host
from p2pqwen.values.named_hosts import Guard, RefusedAddressError

_READ_BUFFER = 64 * 1024
_HEADER = 8190


class WebSession:
    """An HTTP client of one event loop, and an asynchronous context manager. Times in seconds.

    `keep_alive` False: each connection is used once. `max_header`: bytes of one line of an answer's header.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        connect_timeout: float,
        read_timeout: float,
        max_connections: int = 100,
        keep_alive: bool = True,
        read_buffer: int = _READ_BUFFER,
        max_header: int = _HEADER,
    ) -> None:
        self._guard = guard
        self._resolver = _Resolver(guard)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections,
                resolver=self._resolver,
                force_close=not keep_alive,
                socket_factory=self._open_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout, sock_read=read_timeout),
            headers={"User-Agent": f"p2pqwen/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=read_buffer,
            max_line_size=max_header,
            max_field_size=max_header,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, url: URL, *, headers: Mapping[str, str] | None = None) -> aiohttp.ClientResponse:
        """Ask for one URL, and return the answer, a redirect too; the caller releases it.

        Raises `RefusedAddressError`, `aiohttp.ClientError`, `OSError`, `ValueError`.
        """
        self._guard.check_url(str(url))
        host = self._guard.check_host(url.raw_host or "")
        if host.address is not None:  # the connector takes it as it is, without a resolver
            self._resolver.approve(host, [str(host.address)])
        return await self._session.get(url, headers=headers, allow_redirects=False)

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, address = info
        self._resolver.require_approved(str(address[0]))
        return socket.socket(family, kind, proto)


class _Resolver(AbstractResolver):
    """Resolves names, leaves out addresses that may not be asked, and remembers those that may."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()
        self._approved: set[Address] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        checked = self._guard.check_host(host)
        found = await self._inner.resolve(host, port, family)
        allowed = set(self.approve(checked, [row["host"] for row in found]))
        return [row for row in found if row["host"] in allowed]

    def approve(self, host: Host, addresses: list[str]) -> tuple[str, ...]:
        allowed = self._guard.check_addresses(host, addresses)
        self._approved.update(map(_bare, allowed))
        return allowed

    def require_approved(self, address: str) -> None:
        if _bare(address) not in self._approved:
            raise RefusedAddressError(f"{address} was not looked at before it is connected to")

    async def close(self) -> None:
        await self._inner.close()


def _bare(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])
