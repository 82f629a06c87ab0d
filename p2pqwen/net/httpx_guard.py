"""httpx's side of the guard, for huggingface_hub: each request of a client is judged on its way out, redirects too.

The rule in force is asked for with each request, since huggingface_hub keeps one client for the process. Each rule has
connections of its own: one that was opened under a wider rule must not serve a narrower one. A proxy of the environment
is the user's word: it is connected to wherever it is, and resolves names itself, so that behind it a host is judged by
its text alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import httpx2

from p2pqwen.net.dialling import addresses_of
from p2pqwen.values.named_hosts import Guard, NamedHosts


def guard_client(make: Callable[[], httpx2.Client], rule: Callable[[], Guard]) -> httpx2.Client:
    """Return a client as `make` builds it, which sends nothing that `rule` does not let out."""
    client = make()
    client._mounts = {}  # noqa: SLF001 - httpx has no other way to a proxy that transports of ours wrap
    client._transport = _Guarded(make, rule)  # noqa: SLF001
    return client


class _Guarded(httpx2.BaseTransport):
    """Judges a request, then hands it to the transports that dial by the same rule."""

    def __init__(self, make: Callable[[], httpx2.Client], rule: Callable[[], Guard]) -> None:
        self._make, self._rule = make, rule
        self._clients: dict[Guard, httpx2.Client] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        guard = self._rule()
        guard.check_url(str(request.url))
        with self._lock:
            if guard not in self._clients:
                self._clients[guard] = _dialling_by(guard, self._make())
            client = self._clients[guard]
        return client._transport_for_url(request.url).handle_request(request)  # noqa: SLF001 - which proxy, if any

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


def _dialling_by(guard: Guard, client: httpx2.Client) -> httpx2.Client:
    """Make every pool of a client open its connections through the guard."""
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if transport is None:  # a host that the environment excepts from its proxy goes by the first
            continue
        pool: Any = getattr(transport, "_pool", None)
        if not isinstance(pool, httpcore2.ConnectionPool) or not hasattr(pool, "_network_backend"):
            raise TypeError(f"cannot guard the connections of {type(transport).__name__}")
        pool._network_backend = _Backend(_for_pool(guard, pool))  # noqa: SLF001 - no parameter of httpx leads there
    return client


def _for_pool(guard: Guard, pool: httpcore2.ConnectionPool) -> Guard:
    """Return what a pool may dial: one behind a proxy that proxy alone."""
    proxy: Any = getattr(pool, "_proxy_url", None)
    if proxy is None:
        return guard
    return Guard(proxies=NamedHosts.configured([f"http://{_bracketed(proxy.host.decode())}"]))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Backend(httpcore2.NetworkBackend):
    """Opens sockets to addresses that were looked at."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._inner = guard, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = addresses_of(host, port, self._guard)
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        problem: Exception | None = None
        for address in addresses:
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
        raise problem or httpcore2.ConnectError(f"{host} has no address")
