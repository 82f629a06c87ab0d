"""The guard for urllib3, and so for dulwich: pool managers that judge each URL, each redirect and each address dialled.

dulwich's `default_urllib3_manager` takes the two classes and chooses between them by the environment's proxies. Behind
a proxy, which the user named, hosts are judged by their text alone: the proxy resolves their names.

If urllib3 repeats a request after an answer, such as a redirect, it does not read that answer's body: it may be
endless.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, TypeAlias

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from p2pqwen.net.dialling import connect, connect_by_socks, proxies_now
from p2pqwen.values.named_hosts import Guard, NamedHosts

_Given: TypeAlias = Any  # whatever urllib3 takes; it is passed on unchanged


def guarded_manager(guard: Guard, url: str, **more: _Given) -> urllib3.PoolManager:
    """Return a pool manager that sends only what the guard allows, through the proxy for `url`, if any."""
    direct, by_proxy = _managers(guard)
    proxy = proxies_now().choose(url)
    if proxy is None or proxy.is_socks:
        return direct(**more)
    login = f"{proxy.user}:{proxy.password}" if proxy.user else None
    return by_proxy(proxy.address, proxy_headers=urllib3.make_headers(proxy_basic_auth=login), **more)


def _managers(guard: Guard) -> tuple[type[urllib3.PoolManager], type[urllib3.ProxyManager]]:
    """Return the two classes, for direct connections and behind a proxy."""

    class GuardedPoolManager(urllib3.PoolManager):
        def __init__(self, *arguments: _Given, **more: _Given) -> None:
            super().__init__(*arguments, **more)
            self.pool_classes_by_scheme = _pools(guard, by_socks=True)

        def urlopen(self, method: str, url: str, redirect: bool = True, **more: _Given) -> urllib3.BaseHTTPResponse:  # type: ignore[override] # noqa: FBT001, FBT002 - urllib3's signature
            guard.check_url(url)  # redirects come by here as well
            return super().urlopen(method, url, redirect=redirect, **more)

    class GuardedProxyManager(urllib3.ProxyManager):
        def __init__(self, proxy_url: str, **more: _Given) -> None:
            super().__init__(proxy_url, **more)
            self.pool_classes_by_scheme = _pools(Guard(proxies=NamedHosts.configured([proxy_url])))

        def urlopen(self, method: str, url: str, redirect: bool = True, **more: _Given) -> urllib3.BaseHTTPResponse:  # type: ignore[override] # noqa: FBT001, FBT002 - urllib3's signature
            guard.check_url(url)
            return super().urlopen(method, url, redirect=redirect, **more)

    return GuardedPoolManager, GuardedProxyManager


def _pools(guard: Guard, *, by_socks: bool = False) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, guard, "http" if by_socks else None)

        def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # it returns this
            return _never_drained(super().getresponse())

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, guard, "https" if by_socks else None)

        def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # it returns this
            return _never_drained(super().getresponse())

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _never_drained(response: urllib3.HTTPResponse) -> urllib3.HTTPResponse:
    response.drain_conn = response.close  # type: ignore[method-assign] # a closed connection is opened again
    return response


def _dial(connection: HTTPConnection, guard: Guard, scheme: str | None) -> socket.socket:
    """Do what `HTTPConnection._new_conn` does, through the guard, and through the SOCKS proxy for this `scheme`."""
    host = connection._dns_host  # noqa: SLF001 - of the class whose subclass asks
    timeout = connection.timeout if isinstance(connection.timeout, (int, float)) else None
    try:
        proxy = None if scheme is None else proxies_now().choose(f"{scheme}://{_bracketed(host)}:{connection.port}/")
        if proxy is not None and proxy.is_socks:
            return connect_by_socks(proxy, host, connection.port, guard, timeout=timeout)
        connected = connect(
            host,
            connection.port,
            guard,
            timeout=timeout,
            source=connection.source_address,
            options=[tuple(one) for one in connection.socket_options or ()],  # type: ignore[misc] # as urllib3 has them
        )
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"connection to {host} timed out") from error
    except OSError as error:
        raise NewConnectionError(connection, f"failed to establish a new connection: {error}") from error
    sys.audit("http.client.connect", connection, host, connection.port)
    return connected


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
