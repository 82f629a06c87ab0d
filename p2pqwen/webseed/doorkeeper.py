"""Who may connect to a server of ours: so many at once, so many from one address, and nobody who asks for nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web


class Doorkeeper(web.Server):
    """An aiohttp server that cuts connections beyond the limits and idle ones. `refused` counts the former."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        connections: int,
        per_address: int,
        idle_seconds: float,
    ) -> None:
        super().__init__(handler, access_log=None, keepalive_timeout=idle_seconds)
        self.refused = 0
        self._most, self._most_here, self._idle_seconds = connections, per_address, idle_seconds
        self._addresses: dict[web.RequestHandler, str] = {}
        self._idle_since: dict[web.RequestHandler, float] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Let a connection in, or cut it."""
        super().connection_made(handler, transport)
        address = str((transport.get_extra_info("peername") or ("",))[0])
        here = Counter(self._addresses.values())[address]
        if len(self._addresses) >= self._most or here >= self._most_here:
            self.refused += 1
            transport.abort()
            return
        self._addresses[handler] = address
        self._idle_since[handler] = time.monotonic()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._addresses.pop(handler, None)
        self._idle_since.pop(handler, None)

    @contextmanager
    def busy(self, request: web.BaseRequest) -> Iterator[None]:
        """Do not count the request's connection as idle while it is answered."""
        self._idle_since.pop(request.protocol, None)
        try:
            yield
        finally:
            if request.protocol in self._addresses:
                self._idle_since[request.protocol] = time.monotonic()

    async def sweep(self) -> None:
        """Cut what has been idle too long, for ever."""
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            late = time.monotonic() - self._idle_seconds
            for handler in [handler for handler, since in self._idle_since.items() if since < late]:
                if handler.transport is not None:
                    handler.transport.abort()
