"""Limits on connections to one of our servers: in all, for each address, and on idle ones.

If all connections are taken, `fair_share` chooses one to cut: an address with many makes room for an address with few,
and idle or slow readers make room for others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from p2pqwen.net.fault_log import fault_log
from p2pqwen.webseed.fair_share import FairRule, Shares, address_group

SWEEP_SECONDS = 1.0


class ConnectionLimiter(web.Server):
    """An aiohttp server that cuts connections beyond the limits, and idle ones. `refused` counts the former.

    `progress` returns how many bytes a connection's reader has taken in all, and how many are sent but not taken.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        connections: int,
        per_address: int,
        idle_seconds: float,
        rule: FairRule,
        progress: Callable[[web.RequestHandler], tuple[int, int]],
    ) -> None:
        super().__init__(handler, access_log=None, logger=fault_log(), keepalive_timeout=idle_seconds)
        self.refused = 0
        self._most, self._most_here, self._idle_seconds = connections, per_address, idle_seconds
        self._rule, self._progress = rule, progress
        self._shares: Shares[web.RequestHandler] = Shares(rule)
        self._groups: dict[web.RequestHandler, str] = {}
        self._idle_since: dict[web.RequestHandler, float] = {}

    def group(self, handler: web.RequestHandler | None) -> str:
        """Return the address that a connection counts for."""
        return "" if handler is None else self._groups.get(handler, "")

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Admit a connection, or cut it; to admit it, another may be cut."""
        super().connection_made(handler, transport)
        group = address_group(str((transport.get_extra_info("peername") or ("",))[0]))
        if self._shares.count(group) >= self._most_here or not self._has_room(group):
            self.refused += 1
            # Later: aiohttp starts on the connection after this call, and logs an error if it is gone by then.
            asyncio.get_running_loop().call_soon(transport.abort)
            return
        now = time.monotonic()
        self._groups[handler] = group
        self._shares.hold(handler, group, now)
        self._idle_since[handler] = now

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._groups.pop(handler, None)
        self._shares.release(handler)
        self._idle_since.pop(handler, None)

    @contextmanager
    def busy(self, request: web.BaseRequest) -> Iterator[None]:
        """Do not count the request's connection as idle while it is answered."""
        self._idle_since.pop(request.protocol, None)
        if request.protocol in self._groups:
            self._shares.begin(request.protocol, time.monotonic())
        try:
            yield
        finally:
            if request.protocol in self._groups:
                self._idle_since[request.protocol] = time.monotonic()

    async def sweep(self) -> None:
        """Cut connections that are idle too long; runs for ever."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._idle_seconds / 4))
            self.look()

    def look(self) -> None:
        """Cut connections that are idle too long, and measure the readers of the others."""
        now = time.monotonic()
        for handler in list(self._groups):
            since = self._idle_since.get(handler)
            if since is not None and now - since > self._idle_seconds:
                _cut(handler)
            # A connection without a request takes nothing, so it is the first to go when another wants in.
            taken, owed = self._progress(handler) if since is None else (0, 1)
            self._shares.observe(handler, taken=taken, owed=owed, now=now)

    def _has_room(self, group: str) -> bool:
        if len(self._shares) - self._shares.leaving < self._most:
            return True
        gone = self._shares.cut(group, waited=self._rule.turn, now=time.monotonic())
        if gone is None:
            return False
        _cut(gone)
        return True


def _cut(handler: web.RequestHandler) -> None:
    if handler.transport is not None:
        handler.transport.abort()
