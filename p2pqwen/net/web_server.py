"""How our web servers listen: nobody takes room from others by asking slowly, or by asking nothing.

Until its request is whole, head and body, a connection costs others memory and an open file, and gives nobody anything.
So only a few may be in that state, and the one that has been longest makes room; none may be for long. A request that
is whole is answered, however many there are, up to all connections.
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
"""Header lines of a request, each of 8190 bytes at most. Browsers and programs send 20, proxies add a few."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections a server holds, how many of them without a whole request, and how long it waits for one.

    `head`: seconds from the connection, or from the last answer, to the end of a head; `body`: from there to its own.
    `grace`: seconds for which nobody makes room, as long as there are fewer connections: of a thousand that come at
    once, each asks at once.
    """

    connections: int = 1024
    asking: int = 64
    grace: float = 5.0
    head: float = 60.0
    body: float = 30.0


class WebServer:
    """An aiohttp application on one listening socket; for the loop that it is made on."""

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
        self._coming: set[web.RequestHandler] = set()  # made, and not among the server's yet
        self._asking: dict[web.RequestHandler, float] = {}  # since when; who has been for longest comes first

    async def start(self, listener: socket.socket, *, backlog: int = 128) -> None:
        """Begin to take connections; raises `OSError`."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._protocol, sock=listener, backlog=backlog)

    async def stop(self) -> None:
        """Take no more, and end those that are there."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None:  # it was stopped a moment ago
            return _Refused()
        if not self._has_room({*server.connections, *self._coming}):
            return _Refused()
        made = server()
        self._asking[made] = time.monotonic()
        self._coming.add(made)
        asyncio.get_running_loop().call_soon(self._coming.discard, made)  # it is among the server's in that round
        return made

    def _has_room(self, held: set[web.RequestHandler]) -> bool:
        """Tell whether another may come, once somebody made room where that is needed."""
        self._asking = {one: since for one, since in self._asking.items() if one in held}
        full = len(held) >= self._patience.connections
        if not full and len(self._asking) < self._patience.asking:
            return True
        # One that is not among the server's yet cannot be ended.
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
        """Read a body, which the request then holds; raises `web.HTTPException`."""
        try:
            with suppress(web.RequestPayloadError):  # the handler reads it again, and says what it is
                async with asyncio.timeout(self._patience.body):
                    await request.read()
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error


class _Refused(asyncio.Protocol):
    """A connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
