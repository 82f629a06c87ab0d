"""urllib3's side of the guard, for dulwich: pool managers that judge each URL, each redirect, and each address dialled.

`default_urllib3_manager` of dulwich takes the two classes and chooses between them by the environment's proxies. Behind
a proxy, which the user named, hosts are judged by their text alone: the proxy resolves their names.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, TypeAlias

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from p2pqwen.net.dialling import connect
from p2pqwen.values.named_hosts import Guard, NamedHosts

_Given: TypeAlias = Any  # whatever urllib3 takes; it is handed on as it is


def guarded_managers(guard: Guard) -> tuple[type[urllib3.PoolManager], type[urllib3.ProxyManager]]:
    """Return a pool manager, and one for use behind a proxy, that send nothing the guard does not let out."""

    class GuardedPoolManager(urllib3.PoolManager):
        def __init__(self, *arguments: _Given, **more: _Given) -> None:
            super().__init__(*arguments, **more)
            self.pool_classes_by_scheme = _pools(guard)

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


def _pools(guard: Guard) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, guard)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _dial(self, guard)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _dial(connection: HTTPConnection, guard: Guard) -> socket.socket:
    """Do what `HTTPConnection._new_conn` does, through the guard."""
    host = connection._dns_host  # noqa: SLF001 - of the class whose subclass asks
    timeout = connection.timeout if isinstance(connection.timeout, (int, float)) else None
    try:
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
