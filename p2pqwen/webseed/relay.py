"""The loopback relay: the only web seed that libtorrent gets; the real ones are behind it.

libtorrent 2.1.1 gives up a web seed's file for good after one answer other than 200 or 206, and fails on expiring
redirects. So the relay answers 206 (or 200) with checked bytes or closes the connection, never anything else. A closed
connection costs libtorrent a second, however often that happens. The relay closes only between pieces. libtorrent
resumes a body that was cut inside a 16 KiB block with a piece that fails its hash (measured with 2.1.1).

Several URLs lead to the same torrent, because libtorrent opens one connection for each URL: so a large file is fetched
over several connections at once. Other users of this machine cannot guess the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web

from p2pqwen.events import Notice
from p2pqwen.loop_thread import LoopThread
from p2pqwen.net.fault_log import fault_log
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.byte_range import parse_range
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.webseed.bases import Base
from p2pqwen.webseed.buffers import MEMORY_LIMIT, BufferPool
from p2pqwen.webseed.piece_check import PieceCheck
from p2pqwen.webseed.piece_run import pieces
from p2pqwen.webseed.piece_source import Supply, UnavailableError
from p2pqwen.webseed.source_stats import Account, Outlook
from p2pqwen.webseed.timeouts import Timeouts
from p2pqwen.webseed.upstream_server import RemoteFile, UpstreamServer

HOST = "127.0.0.1"
LANES = 4
HASHING_THREADS = 2
_WRITE_SIZE = 512 * 1024
_UNDRAINED = 64 * 1024
_KEEP_ALIVE = 3600.0
_ZEROS = bytes(_WRITE_SIZE)


class RelayedTorrent:
    """One torrent behind the relay. Methods are thread-safe."""

    def __init__(self, relay: Relay, key: str, metainfo: Metainfo, supply: Supply) -> None:
        self._relay = relay
        self.key = key
        self.name = metainfo.name
        self.supply = supply
        self._files = {file.path.text: number for number, file in enumerate(metainfo.files)}

    @property
    def urls(self) -> tuple[str, ...]:
        """The web seeds to pass to libtorrent; BEP 19 appends `<name>/<path>` to each."""
        return tuple(self._relay.url(self.key, lane) for lane in range(self._relay.lanes))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What each upstream gave so far."""
        return self.supply.accounts

    def keep(self, gained: Iterable[tuple[int, int, int]]) -> int:
        """Record what a download gained, as `Supply.keep` does."""
        return self._relay.keep(self, gained)

    def outlook(self) -> Outlook:
        """Return whether the web seeds can still be counted on."""
        return self._relay.outlook(self)

    def take_notices(self) -> list[Notice]:
        """Return the notices for the user since the last call."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self.supply.notices.popleft())
        return found

    def withdraw(self) -> None:
        """Stop relaying: close the connections; the URLs lead nowhere."""
        self._relay.withdraw(self)

    def find(self, path: str) -> int | None:
        """Return the index of a file by the path after the URL, `<name>/<path>`."""
        name, _, rest = path.partition("/")
        return self._files.get(rest) if name == self.name else None

    def pad(self, path: str) -> int | None:
        """Return the length of a pad file at such a path, None if it is not one of the torrent's."""
        name, _, rest = path.partition("/")
        folder, _, length = rest.partition("/")
        known = name == self.name and folder == ".pad" and length.isascii() and length.isdigit() and len(length) < 10
        return int(length) if known and int(length) < self.supply.check.piece_length else None


class Relay:
    """The server, in a thread with its own event loop. A context manager; `offer` adds a torrent."""

    def __init__(
        self,
        *,
        site: OriginAccess | None = None,
        named: NamedHosts = NONE_NAMED,
        timeouts: Timeouts | None = None,
        lanes: int = LANES,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self.lanes = lanes
        self._site, self._named = site, named
        self._timeouts = timeouts or Timeouts()
        self._pool = BufferPool(memory_limit)
        self._token = secrets.token_urlsafe(24)
        self._torrents: dict[str, RelayedTorrent] = {}
        self._requests: dict[asyncio.Task[Any], str] = {}
        self._executor = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="relay-hash")
        self._thread = LoopThread("relay")
        self._port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._port = self._thread.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._stop())
        self._thread.stop()
        self._executor.shutdown()

    def offer(self, metainfo: Metainfo, bases: Sequence[Base]) -> RelayedTorrent:
        """Relay a torrent from these bases, tried in this order. It may lack its piece layers."""
        return self._thread.call(self._offer(metainfo, bases))

    def withdraw(self, torrent: RelayedTorrent) -> None:
        """Stop relaying a torrent."""
        self._thread.call(self._withdraw(torrent))

    def url(self, key: str, lane: int) -> str:
        """Return one of the web seed URLs of a torrent."""
        return f"http://{HOST}:{self._port}/{self._token}/{key}/{lane}/"

    def keep(self, torrent: RelayedTorrent, gained: Iterable[tuple[int, int, int]]) -> int:
        """Record what a download gained, as `Supply.keep` does."""
        return self._thread.call(_keep(torrent.supply, gained))

    def outlook(self, torrent: RelayedTorrent) -> Outlook:
        """Return whether the web seeds can still be counted on."""
        return self._thread.call(_outlook(torrent.supply))

    async def _start(self) -> int:
        self._runner = web.ServerRunner(
            web.Server(
                self._handle,
                access_log=None,
                logger=fault_log(),
                keepalive_timeout=_KEEP_ALIVE,
                handler_cancellation=True,
            ),
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        for torrent in list(self._torrents.values()):
            await self._withdraw(torrent)
        await self._runner.cleanup()

    async def _offer(self, metainfo: Metainfo, bases: Sequence[Base]) -> RelayedTorrent:
        supply = Supply(
            [RemoteFile(file.path, file.size) for file in metainfo.files],
            PieceCheck(metainfo.parsed_info),
            [UpstreamServer(base, site=self._site, named=self._named, timeouts=self._timeouts) for base in bases],
            pool=self._pool,
            executor=self._executor,
            timeouts=self._timeouts,
        )
        torrent = RelayedTorrent(self, secrets.token_urlsafe(6), metainfo, supply)
        self._torrents[torrent.key] = torrent
        return torrent

    async def _withdraw(self, torrent: RelayedTorrent) -> None:
        if self._torrents.pop(torrent.key, None) is None:
            return
        running = [task for task, key in self._requests.items() if key == torrent.key]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await torrent.supply.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer 206 or 200 with the right bytes; in any other case, close the connection."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler runs in a task
        response = web.StreamResponse()
        try:
            torrent, path = self._locate(request)
            self._requests[task] = torrent.key
            response = await self._serve(request, torrent, path)
        except (_NotOursError, UnavailableError, ConnectionError):
            _close(request)
        except asyncio.CancelledError:
            _close(request)
            raise
        except Exception:
            _close(request)
            raise
        finally:
            self._requests.pop(task, None)
        return response

    def _locate(self, request: web.BaseRequest) -> tuple[RelayedTorrent, str]:
        token, _, rest = request.rel_url.raw_path.lstrip("/").partition("/")
        key, _, rest = rest.partition("/")
        _lane, _, path = rest.partition("/")
        torrent = self._torrents.get(key)
        known = hmac.compare_digest(token.encode(), self._token.encode())
        if not known or torrent is None or request.method not in {"GET", "HEAD"} or request.rel_url.raw_query_string:
            raise _NotOursError
        return torrent, unquote(path)

    async def _serve(self, request: web.BaseRequest, torrent: RelayedTorrent, path: str) -> web.StreamResponse:
        file, pad = torrent.find(path), torrent.pad(path)
        size = pad if pad is not None else torrent.supply.files[file].size if file is not None else None
        if size is None:
            raise _NotOursError
        wanted = parse_range(request.headers.get("Range"), size)
        if wanted is None:
            raise _NotOursError
        response = web.StreamResponse(status=206 if wanted.partial else 200)
        response.content_type = "application/octet-stream"
        response.content_length = len(wanted)
        if wanted.partial:
            response.headers["Content-Range"] = wanted.content_range
        if request.method == "HEAD" or not wanted:
            await response.prepare(request)
        elif pad is not None:
            await response.prepare(request)
            for at in range(0, len(wanted), len(_ZEROS)):
                await response.write(_ZEROS[: len(wanted) - at])
        elif file is not None:
            await self._send(request, response, torrent.supply, file, wanted.offsets)
        return response

    async def _send(
        self, request: web.BaseRequest, response: web.StreamResponse, supply: Supply, file: int, wanted: range
    ) -> None:
        length = supply.check.piece_length
        first, last = wanted.start // length, (wanted.stop - 1) // length
        async with aclosing(pieces(supply, file, first, last)) as run:
            start = first * length
            async for buffer in run:
                if not response.prepared:  # not before there is something to send
                    _drain_fully(request)
                    await response.prepare(request)
                part = buffer.view[max(wanted.start - start, 0) : wanted.stop - start]
                await _write_all(response, part, partial(supply.sent, file, start // length))
                start += length


async def _write_all(response: web.StreamResponse, data: memoryview, sent: Callable[[int], None]) -> None:
    """Write, and return once the transport holds no reference to `data`.

    Bytes are counted before they are sent: a download that has its last piece asks at once where it came from.
    """
    for at in range(0, len(data), _WRITE_SIZE):
        part = data[at : at + _WRITE_SIZE]
        sent(len(part))
        # aiohttp waits for the transport only after more than 64 KiB, so short data is copied.
        await response.write(part if len(part) > _UNDRAINED else bytes(part))


def _drain_fully(request: web.BaseRequest) -> None:
    """Make each wait on this connection drain its whole buffer, which since Python 3.12 holds references."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=0)


async def _keep(supply: Supply, gained: Iterable[tuple[int, int, int]]) -> int:
    return supply.keep(gained)


async def _outlook(supply: Supply) -> Outlook:
    return supply.outlook()


class _NotOursError(Exception):
    """A request for something that the relay does not have."""


def _close(request: web.BaseRequest) -> None:
    """Close the connection after the bytes written so far are sent."""
    if request.transport is not None:
        request.transport.close()
