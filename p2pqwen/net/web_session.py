"""The guard for aiohttp: a session that asks only allowed addresses, and follows no redirect by itself.

Each URL is judged before the request, each name when it is resolved, and each address again when a socket is opened for
it. The caller follows redirects, with another `get`, so that each is judged as well. No cookies, no content encoding,
and no credentials except those that the caller sends with one request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from p2pqwen import __version__
from p2pqwen.net.dialling import connect_by_socks, guard_of, proxies_now
from p2pqwen.values.address_class import Address
from p2pqwen.values.host import Host
from p2pqwen.values.named_hosts import Guard, RefusedAddressError
from p2pqwen.values.proxy import Proxies, Proxy

_READ_BUFFER = 64 * 1024
_HEADER = 8190


class WebSession:
    """An HTTP client for one event loop; an asynchronous context manager. Times in seconds.

    `keep_alive` False: each connection is used once. `max_header`: bytes of one line in an answer's header.
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
        self._proxies = proxies_now()
        self._resolver = _Resolver(guard)
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                guard,
                self._proxies,
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
        """Request one URL, and return the answer, even a redirect; the caller releases it. Raises as `ask` does."""
        return await self.ask("GET", url, headers=headers)

    async def ask(
        self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """Make one request, and return the answer, even a redirect; the caller releases it.

        Raises `RefusedAddressError`, `aiohttp.ClientError`, `OSError`, `ValueError`.
        """
        self._guard.check_url(str(url))
        proxy = self._proxies.choose(str(url))
        if proxy is not None and not proxy.is_socks:
            return await self._ask_by(proxy, method, url, headers, body)
        host = self._guard.check_host(url.raw_host or "")
        if host.address is not None:  # the connector uses it directly, without a resolver
            self._resolver.approve(host, [str(host.address)])
        return await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)

    async def _ask_by(
        self, proxy: Proxy, method: str, url: URL, headers: Mapping[str, str] | None, body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Ask through an HTTP proxy, which resolves names: hosts behind it are judged by their text alone."""
        self._resolver.add_proxy(proxy)
        login = {"Proxy-Authorization": aiohttp.encode_basic_auth(proxy.user, proxy.password)} if proxy.user else {}
        plain = url.scheme == "http"  # the proxy reads the whole request; for https only CONNECT
        return await self._session.request(
            method,
            url,
            data=body,
            headers={**(headers or {}), **(login if plain else {})},
            allow_redirects=False,
            proxy=proxy.address,
            proxy_headers=None if plain else login,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, address = info
        self._resolver.require_approved(str(address[0]))
        return socket.socket(family, kind, proto)


class _Connector(aiohttp.TCPConnector):
    """Dials through a SOCKS5 proxy if one is set for a URL."""

    def __init__(self, guard: Guard, proxies: Proxies, **more: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(**more)
        self._guard, self._proxies = guard, proxies

    # aiohttp has no other hook for this; aiohttp-socks replaces its connector's internals too.
    async def _create_direct_connection(self, req: Any, traces: Any, timeout: Any, **more: Any) -> Any:  # noqa: ANN401, ASYNC109
        proxy = self._proxies.choose(str(req.url))
        if proxy is None or not proxy.is_socks:
            return await super()._create_direct_connection(req, traces, timeout, **more)
        host, port, context = req.url.raw_host, req.url.port, self._get_ssl_context(req)
        try:
            connected = await asyncio.to_thread(
                connect_by_socks, proxy, host, port, self._guard, timeout=timeout.sock_connect
            )
            connected.setblocking(False)  # noqa: FBT003 - its only argument
            name = (req.server_hostname or host).rstrip(".") if context else None
            return await self._loop.create_connection(self._factory, ssl=context, server_hostname=name, sock=connected)
        except ssl.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error


class _Resolver(AbstractResolver):
    """Resolves names, drops addresses that may not be asked, and remembers those that may."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._of_proxies: dict[str, Guard] = {}
        self._inner = ThreadedResolver()
        self._approved: set[Address] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if (to_proxy := self._of_proxies.get(host)) is not None:
            return await self._resolve(to_proxy, host, port, family)
        return await self._resolve(self._guard, host, port, family)

    async def _resolve(self, guard: Guard, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        checked = guard.check_host(host)
        found = await self._inner.resolve(host, port, family)
        allowed = set(self.approve(checked, [row["host"] for row in found], guard))
        return [row for row in found if row["host"] in allowed]

    def add_proxy(self, proxy: Proxy) -> None:
        """Allow connections to a proxy, wherever it is."""
        guard = self._of_proxies.setdefault(proxy.host, guard_of(proxy))
        host = guard.check_host(proxy.host)
        if host.address is not None:
            self.approve(host, [str(host.address)], guard)

    def approve(self, host: Host, addresses: list[str], guard: Guard | None = None) -> tuple[str, ...]:
        allowed = (guard or self._guard).check_addresses(host, addresses)
        self._approved.update(map(_bare, allowed))
        return allowed

    def require_approved(self, address: str) -> None:
        if _bare(address) not in self._approved:
            raise RefusedAddressError(f"{address} was not checked before the connection")

    async def close(self) -> None:
        await self._inner.close()


def _bare(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])
