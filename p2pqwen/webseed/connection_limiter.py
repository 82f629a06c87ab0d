"""Who may connect to a server of ours: a limited number at once and from one address, and nobody who asks for nothing.

Where all connections are taken, `fair_share` says who makes room: an address that holds many does for one that holds
few, who is idle or reads slowly for anybody else.
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
    """An aiohttp server that cuts connections beyond the limits and idle ones. `refused` counts the former.

    `progress` tells of a connection what its reader has taken in all, and what was sent and not taken yet.
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
        """Let a connection in, or cut it, or one that makes room for it."""
        super().connection_made(handler, transport)
        group = address_group(str((transport.get_extra_info("peername") or ("",))[0]))
        if self._shares.count(group) >= self._most_here or not self._has_room(group):
            self.refused += 1
            # Not at once: aiohttp begins with the connection after this call, and fails aloud where it is gone by then.
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
        """Cut what has been idle too long, for ever."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._idle_seconds / 4))
            self.look()

    def look(self) -> None:
        """Cut what has been idle too long, and judge who reads."""
        now = time.monotonic()
        for handler in list(self._groups):
            since = self._idle_since.get(handler)
            if since is not None and now - since > self._idle_seconds:
                _cut(handler)
            # Who asks for nothing takes nothing: first to go when somebody else wants in.
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
