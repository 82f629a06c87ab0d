"""A node as a web seed: its library under BEP 19, read-only, with plain answers that every client understands.

    http://HOST:PORT/<org>/<model>/<commit>/<path>      the base for a torrent is http://HOST:PORT/<org>/<model>/

Answers 200 and 206 to GET and HEAD, one range at a time, without redirects. It serves zeros for `.pad/<n>`, so that
clients without BEP 47 (aria2) finish too. libtorrent gives up a file after one 404, 429 or 503. So the server never
answers 429 or 503: a request waits while all places are taken, and connections beyond the limit are cut; `fair_share`
chooses which. Before `offers_complete`, it does not answer 404 either: a request for a file that is not offered yet
waits.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from aiohttp import web

from p2pqwen.errors import P2pqwenError
from p2pqwen.loop_thread import LoopThread
from p2pqwen.portable.files import read_at
from p2pqwen.portable.sockets import unacknowledged
from p2pqwen.values.byte_range import parse_range
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import library_parts
from p2pqwen.webseed.connection_limiter import ConnectionLimiter
from p2pqwen.webseed.fair_share import FairRule
from p2pqwen.webseed.offered_file import Offer
from p2pqwen.webseed.places import Places, Reader
from p2pqwen.webseed.token_bucket import TokenBucket

MAX_CONNECTIONS = 256
MAX_PER_ADDRESS = 32
MAX_TRANSFERS = 32
IDLE_SECONDS = 60.0
LOOK_SECONDS = 1.0
_CHUNK = 256 * 1024
_ZEROS = bytes(_CHUNK)
_READERS = 4


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The server's limits. `rate`: bytes a second in all, 0 for no limit, until `set_rate` changes it.

    `per_address` counts connections of one IPv4 address or IPv6 /64. `transfers`: bodies sent at once; `fair` decides
    which reader makes room if more are requested. `idle_seconds`: without a request, or with a reader that takes
    nothing.
    """

    rate: int = 0
    connections: int = MAX_CONNECTIONS
    per_address: int = MAX_PER_ADDRESS
    transfers: int = MAX_TRANSFERS
    idle_seconds: float = IDLE_SECONDS
    fair: FairRule = field(default_factory=FairRule)


class FileServer:
    """Serves offers on `host` and `port` (0: any free one) in a thread of its own; a context manager.

    Raises `P2pqwenError` on entry if the address is not available. Methods are thread-safe. `bytes_sent`: in all, since
    the start.
    """

    def __init__(self, host: str, port: int, limits: ServerLimits | None = None) -> None:
        self.host = host
        self.port = port
        self.requests = 0
        self.bytes_sent = 0
        self._sent: Counter[SnapshotId] = Counter()
        self._limits = limits or ServerLimits()
        self._bucket = TokenBucket(self._limits.rate)
        self._offers: dict[tuple[str, ...], Offer] = {}
        self._offers_complete = asyncio.Event()
        self._thread = LoopThread("file server")
        self._written: dict[web.RequestHandler, int] = {}  # bytes of each connection's current body
        self._executor = ThreadPoolExecutor(_READERS, thread_name_prefix="file-server")

    @property
    def refused_connections(self) -> int:
        """How many connections were beyond the limits."""
        return self._server.refused

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._thread.call(self._start())
        except OSError as error:
            self._end()
            raise P2pqwenError(
                f"cannot listen on {self.host}:{self.port}",
                got=error.strerror or str(error),
                hint="choose another port",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._stop())
        self._end()

    def offer(self, offer: Offer) -> None:
        """Serve a snapshot from now on; if it is served already, its transfers continue."""
        if self._offers.get(_key(offer.snapshot)) != offer:
            self._offers[_key(offer.snapshot)] = offer

    def offers_complete(self) -> None:
        """Answer 404 from now on for what is not offered: the library has been loaded."""
        self._thread.loop.call_soon_threadsafe(self._offers_complete.set)

    def withdraw(self, snapshot: SnapshotId) -> None:
        """Stop serving it; its transfers are cut off."""
        self._offers.pop(_key(snapshot), None)

    def sent(self, snapshot: SnapshotId) -> int:
        """Return how many bytes of a snapshot were sent since the start."""
        return self._sent[snapshot]

    def set_rate(self, rate: int) -> None:
        """Send at most `rate` bytes a second from now on, 0 for no limit."""
        self._thread.loop.call_soon_threadsafe(self._bucket.set_rate, rate)

    def _end(self) -> None:
        self._thread.stop()
        self._executor.shutdown()

    async def _start(self) -> None:
        limits = self._limits
        self._places = Places(limits.transfers, limits.fair)
        self._server = ConnectionLimiter(
            self._handle,
            connections=limits.connections,
            per_address=limits.per_address,
            idle_seconds=limits.idle_seconds,
            rule=limits.fair,
            progress=self._progress,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = int(self._runner.addresses[0][1])
        self._sweeper = asyncio.create_task(self._server.sweep())
        self._looker = asyncio.create_task(self._look())

    async def _stop(self) -> None:
        self._sweeper.cancel()
        self._looker.cancel()
        await asyncio.gather(self._sweeper, self._looker, return_exceptions=True)
        await self._runner.cleanup()

    async def _look(self) -> None:
        """Cut readers that must make room; runs for ever."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._limits.fair.measured / 2))
            self._places.look()

    def _progress(self, connection: web.RequestHandler) -> tuple[int, int]:
        """Return how many bytes of its body a connection's reader has taken, and how many are sent but not taken."""
        written, owed = self._written.get(connection, 0), _owed(connection.transport)
        return max(0, written - owed), owed

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        with self._server.busy(request):
            if request.method not in {"GET", "HEAD"}:
                return web.Response(status=405, headers={"Allow": "GET, HEAD"})
            offer, path = self._find(request.rel_url.raw_path)
            if offer is None:
                await self._offers_complete.wait()
                offer, path = self._find(request.rel_url.raw_path)
            if offer is None:
                return web.Response(status=404)
            if (pad := offer.pad(path)) is not None:
                return await self._answer(request, offer, pad, f"zeros-{pad}", None)
            descriptor = await self._thread.loop.run_in_executor(self._executor, offer.open, path)
            if descriptor is None:
                return web.Response(status=404)
            try:
                return await self._answer(request, offer, offer.sizes[path], offer.tags[path], descriptor)
            finally:
                os.close(descriptor)

    def _find(self, raw_path: str) -> tuple[Offer | None, str]:
        parts = raw_path.removeprefix("/").split("/", 3)
        return (self._offers.get(tuple(parts[:3])), unquote(parts[3])) if len(parts) == 4 else (None, "")

    async def _answer(
        self, request: web.BaseRequest, offer: Offer, size: int, tag: str, descriptor: int | None
    ) -> web.StreamResponse:
        etag = f'"{tag}"'
        asked = request.headers.get("Range") if request.headers.get("If-Range", etag) == etag else None
        wanted = parse_range(asked, size)
        headers = {"Accept-Ranges": "bytes", "ETag": etag, "X-Content-Type-Options": "nosniff"}
        if wanted is None:
            return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        response = web.StreamResponse(status=206 if wanted.partial else 200, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = len(wanted)
        if wanted.partial:
            response.headers["Content-Range"] = wanted.content_range
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        connection = request.protocol
        reader = Reader(self._server.group(connection), lambda: self._progress(connection), lambda: _abort(request))
        self._written[connection] = 0
        try:
            async with self._places.place(reader):
                await response.prepare(request)
                if not await self._send(response, offer, wanted.offsets, descriptor, connection):
                    _abort(request)
        finally:
            del self._written[connection]
        return response

    async def _send(
        self,
        response: web.StreamResponse,
        offer: Offer,
        wanted: range,
        descriptor: int | None,
        connection: web.RequestHandler,
    ) -> bool:
        """Write the bytes; False if the file ended early, is withdrawn, or the reader took none for too long."""
        loop = self._thread.loop
        for at in range(wanted.start, wanted.stop, _CHUNK):
            count = min(_CHUNK, wanted.stop - at)
            chunk = _ZEROS[:count]
            try:
                if descriptor is not None:
                    chunk = await loop.run_in_executor(self._executor, read_at, descriptor, count, at)
                await self._bucket.take(count)
                if self._offers.get(_key(offer.snapshot)) is not offer:
                    return False
                self._written[connection] += len(chunk)
                async with asyncio.timeout(self._limits.idle_seconds):
                    await response.write(chunk)
            except OSError:  # includes a timeout and a broken connection
                return False
            self._sent[offer.snapshot] += len(chunk)
            self.bytes_sent += len(chunk)
            if len(chunk) < count:
                return False
        return True


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _owed(transport: asyncio.BaseTransport | None) -> int:
    """Return the bytes written to a connection that its peer has not acknowledged, if the system reports them."""
    if not isinstance(transport, asyncio.Transport):
        return 0
    return transport.get_write_buffer_size() + unacknowledged(transport.get_extra_info("socket"))


def _key(snapshot: SnapshotId) -> tuple[str, ...]:
    return *library_parts(snapshot.repo), str(snapshot.commit)
