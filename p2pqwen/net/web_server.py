"""How our web servers accept connections, so that slow or silent clients cannot crowd out others.

Until its request is whole, head and body, a connection costs memory and an open file for nothing. So only a few may
stay in that state, none for long, and the oldest is closed when another one comes. Whole requests are all answered, up
to the total number of connections.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from p2pqwen.net.fault_log import fault_log

MAX_HEADERS = 64
"""Header lines of a request, each at most 8190 bytes. Clients send about 20, proxies add a few."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections a server keeps, how many of them without a whole request, and how long it waits for one.

    `head`: seconds from the connection, or from the last answer, to the end of a head; `body`: from there to the end of
    the body. `grace`: seconds for which a connection is not closed for another, unless all are taken, so that a burst
    of clients is served.
    """

    connections: int = 1024
    asking: int = 64
    grace: float = 5.0
    head: float = 60.0
    body: float = 30.0


class WebServer:
    """An aiohttp application on one listening socket. Belongs to the loop that starts it."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float, patience: Patience = Patience()) -> None:
        app.middlewares.append(self._when_whole())
        self._patience = patience
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=fault_log(),
            keepalive_timeout=patience.head,
            max_headers=MAX_HEADERS,
            shutdown_timeout=shutdown_timeout,
        )
        self._listening: asyncio.Server | None = None
        self._coming: set[web.RequestHandler] = set()  # made, and not known to the server yet
        self._asking: dict[web.RequestHandler, float] = {}  # since when; the oldest first

    async def start(self, listener: socket.socket, *, backlog: int = 128) -> None:
        """Start to accept connections; raises `OSError`."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._protocol, sock=listener, backlog=backlog)

    async def stop(self) -> None:
        """Accept no more, and close those that are open."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None:  # just stopped
            return _Refused()
        if not self._has_room({*server.connections, *self._coming}):
            return _Refused()
        made = server()
        self._asking[made] = time.monotonic()
        self._coming.add(made)
        asyncio.get_running_loop().call_soon(self._coming.discard, made)  # the server knows it after that round
        return made

    def _has_room(self, held: set[web.RequestHandler]) -> bool:
        """Return whether another connection may come in, closing one for it if necessary."""
        self._asking = {one: since for one, since in self._asking.items() if one in held}
        full = len(held) >= self._patience.connections
        if not full and len(self._asking) < self._patience.asking:
            return True
        # One that the server does not know yet cannot be closed.
        oldest = next((one for one in self._asking if one not in self._coming), None)
        if full and oldest is None:
            return False
        if oldest is not None and (full or time.monotonic() - self._asking[oldest] >= self._patience.grace):
            del self._asking[oldest]
            oldest.force_close()
        return True

    def _when_whole(self) -> Any:  # noqa: ANN401 - aiohttp's middleware
        @web.middleware
        async def when_whole(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            try:
                if request.can_read_body:
                    await self._read(request)
                self._asking.pop(connection, None)
                return await handler(request)
            finally:
                self._asking.pop(connection, None)
                if connection.transport is not None:
                    self._asking[connection] = time.monotonic()

        return when_whole

    async def _read(self, request: web.Request) -> None:
        """Read a body, which the request then keeps; raises `web.HTTPException`."""
        try:
            with suppress(web.RequestPayloadError):  # the handler reads it again and reports that
                async with asyncio.timeout(self._patience.body):
                    await request.read()
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error


class _Refused(asyncio.Protocol):
    """A connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
