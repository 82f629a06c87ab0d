"""The guard for httpx, and so for huggingface_hub: each request of a client is judged before it is sent, redirects too.

What a client reads whole (API answers, refusals, bodies of redirects) is limited in bytes after decompression and in
seconds. What it streams, the caller must limit.

The current rule is looked up for each request, since huggingface_hub keeps one client for the process. If there is no
rule, the request is not ours. Each rule has its own connections: one that was opened under a wider rule must not serve
a narrower one. A proxy in the environment is the user's choice: it may be at any address, and it resolves names, so
hosts behind it are judged by their text alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import httpx2
from httpcore2._backends.sync import SyncStream

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.net.dialling import addresses_of, connect_by_socks, guard_of, proxies_now
from p2pqwen.values.named_hosts import Guard
from p2pqwen.values.proxy import Proxy

MAX_WHOLE = 64 << 20
"""Bytes of an answer read whole: several times what the Hub says of a snapshot with the most files it may have."""
WHOLE_SECONDS = 300.0
RequestHook = Callable[[httpx2.Request], object]


def guarded_client(rule: Callable[[], Guard | None], on_request: Iterable[RequestHook]) -> httpx2.Client:
    """Return a client like huggingface_hub's own, except that it sends only what `rule` allows.

    httpx's own proxies are disabled: the guard chooses and dials them, SOCKS too. Each request has its own timeout.
    """
    hooks = {"request": list(on_request)}
    return httpx2.Client(
        event_hooks=hooks, follow_redirects=True, timeout=None, trust_env=False, transport=_Guarded(rule)
    )


class _Answer(httpx2.Response):
    """An answer to us, of which at most `MAX_WHOLE` bytes are held in memory."""

    @classmethod
    def of(cls, answer: httpx2.Response) -> _Answer:
        """Return an unread answer from a transport."""
        return cls(answer.status_code, headers=answer.headers, stream=answer.stream, extensions=answer.extensions)

    def read(self) -> bytes:
        """Read and return all of it; raises `FormatError` if it is too large, `NetworkError` if too slow."""
        if not hasattr(self, "_content"):
            body, until = bytearray(), time.monotonic() + WHOLE_SECONDS
            for part in self.iter_bytes():
                body += part
                if len(body) > MAX_WHOLE:
                    what = f"an answer of {self.request.url.host} is too large"
                    raise FormatError(what, expected=f"at most {MAX_WHOLE} bytes")
                if time.monotonic() > until:
                    what = f"an answer of {self.request.url.host} is too slow"
                    raise NetworkError(what, expected=f"within {WHOLE_SECONDS:g} s")
            self._content = bytes(body)
        return self._content


class _Guarded(httpx2.BaseTransport):
    """Judges a request, then passes it to the transport that dials by the same rule."""

    def __init__(self, rule: Callable[[], Guard | None]) -> None:
        self._rule = rule
        self._not_ours: httpx2.Client | None = None
        self._transports: dict[tuple[Guard, Proxy | None], httpx2.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        guard = self._rule()
        if guard is None:
            return self._as_ever(request)
        guard.check_url(str(request.url))
        proxy = proxies_now().choose(str(request.url))
        with self._lock:
            if (guard, proxy) not in self._transports:
                self._transports[guard, proxy] = _dialling_by(guard, proxy)
            transport = self._transports[guard, proxy]
        return _Answer.of(transport.handle_request(request))

    def _as_ever(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request by other code in this process as httpx would, through httpx's own proxies."""
        with self._lock:
            if self._not_ours is None:
                self._not_ours = httpx2.Client()
            client = self._not_ours
        return client._transport_for_url(request.url).handle_request(request)  # noqa: SLF001 - which proxy, if any

    def close(self) -> None:
        with self._lock:
            if self._not_ours is not None:
                self._not_ours.close()
                self._not_ours = None
            for transport in self._transports.values():
                transport.close()
            self._transports.clear()


def _dialling_by(guard: Guard, proxy: Proxy | None) -> httpx2.HTTPTransport:
    """Return a transport that opens connections through the guard: to hosts, or only to an HTTP proxy."""
    by_socks = proxy if proxy is not None and proxy.is_socks else None
    by_http = None if proxy is None or by_socks else httpx2.Proxy(proxy.url)
    transport = httpx2.HTTPTransport(proxy=by_http)
    pool: Any = getattr(transport, "_pool", None)
    if not isinstance(pool, httpcore2.ConnectionPool) or not hasattr(pool, "_network_backend"):
        raise TypeError(f"cannot guard the connections of {type(transport).__name__}")
    dialled = guard if by_http is None or proxy is None else guard_of(proxy)
    pool._network_backend = _Backend(dialled, by_socks)  # noqa: SLF001 - no parameter of httpx leads there
    return transport


class _Backend(httpcore2.NetworkBackend):
    """Opens sockets to checked addresses."""

    def __init__(self, guard: Guard, by_socks: Proxy | None) -> None:
        self._guard, self._by_socks, self._inner = guard, by_socks, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        if self._by_socks is not None:
            return self._connect_by_socks(self._by_socks, host, port, timeout)
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

    def _connect_by_socks(self, proxy: Proxy, host: str, port: int, timeout: float | None) -> httpcore2.NetworkStream:
        try:
            return SyncStream(connect_by_socks(proxy, host, port, self._guard, timeout=timeout))
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
