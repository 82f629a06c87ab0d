"""Torrents of small payloads, a plain web server as their web seed, and a bare libtorrent to fetch them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import libtorrent as lt
from aiohttp import web

from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.bases import Base, combine_bases
from p2pqwen.webseed.timeouts import Timeouts
from tests.strategies import hash_payload, lay_out, manifest_of

SNAPSHOT = SnapshotId.parse("Qwen/Tiny@" + "0123456789" * 4)
PIECE = 64 * 1024
HASTY = Timeouts(connect=2, silence=1, slow_window=1, slow_rate=64 * 1024, hold=2, pace=0.05)
"""The relay's timeouts, shortened for tests."""

Answer = Callable[["PlainServer", web.BaseRequest, str, bytes], Awaitable[web.StreamResponse | None]]


def make_torrent(files: Mapping[str, bytes], *, piece_length: int = PIECE, snapshot: SnapshotId = SNAPSHOT) -> Metainfo:
    """Return the torrent of a payload, with its manifest, at any piece length."""
    payload = {RepoPath(name): data for name, data in files.items()}
    layout = lay_out(payload, piece_length)
    return build_metainfo(manifest_of(payload, snapshot), layout, hash_payload(payload, layout))


def bases(metainfo: Metainfo, *urls: str) -> Sequence[Base]:
    """Return these URLs as the torrent's own web seeds."""
    return combine_bases(metainfo.name, SNAPSHOT.repo, torrent=urls).usable


@dataclass(slots=True)
class Asked:
    """One request a server got."""

    path: str
    range: str | None
    headers: dict[str, str] = field(repr=False)


class PlainServer:
    """Serves files by path with 200 and 206, or as `answer` says (None: as usual)."""

    def __init__(self, files: Mapping[str, bytes], answer: Answer | None = None) -> None:
        self.files = dict(files)
        self.answer = answer
        self.log: list[Asked] = []
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="plain server")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = int(runner.addresses[0][1])
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = unquote(request.rel_url.raw_path).lstrip("/")
        self.log.append(Asked(path, request.headers.get("Range"), dict(request.headers)))
        data = self.files.get(path, b"")
        if self.answer is not None and (response := await self.answer(self, request, path, data)) is not None:
            return response
        if path not in self.files:
            return web.Response(status=404)
        return partial(request, data)


def partial(request: web.BaseRequest, data: bytes, size: int | None = None) -> web.Response:
    """Answer with a range, or all, of these bytes."""
    if "Range" not in request.headers:
        return web.Response(body=data)
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1, len(data))
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data) if size is None else size}"}
    return web.Response(status=206, body=data[start:stop], headers=headers)


def cut(request: web.BaseRequest) -> web.Response:
    """Cut the connection at once."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


def served(files: Mapping[str, bytes], metainfo: Metainfo) -> dict[str, bytes]:
    """Return a payload under the paths that BEP 19 gives it below a base of `/`."""
    return {f"{metainfo.name}/{name}": data for name, data in files.items()}


@dataclass(slots=True)
class Fetching:
    """A running download in a bare libtorrent."""

    handle: Any
    session: Any
    folder: Path
    alerts: list[str] = field(default_factory=list)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return False if it does not end in time."""
        deadline = time.monotonic() + seconds
        while not (status := self.handle.status()).is_seeding and time.monotonic() < deadline:
            if self.session.wait_for_alert(50) is not None:
                self.alerts += [alert.message() for alert in self.session.pop_alerts()]
        self.alerts += [alert.message() for alert in self.session.pop_alerts()]
        return bool(status.is_seeding)

    @property
    def files(self) -> dict[str, bytes]:
        """Return what is on disk, once libtorrent has written its cache."""
        self.handle.flush_cache()
        deadline = time.monotonic() + 20
        flushed = False
        while not flushed and time.monotonic() < deadline:
            self.session.wait_for_alert(50)
            flushed = any(isinstance(alert, lt.cache_flushed_alert) for alert in self.session.pop_alerts())
        assert flushed, "libtorrent did not write what it had"
        root = next(self.folder.iterdir())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def fetching(metainfo: Metainfo, folder: Path, urls: Sequence[str], **settings: Any) -> Iterator[Fetching]:
    """Fetch a torrent only from web seeds, with a bare libtorrent."""
    session = lt.session(
        {
            "listen_interfaces": "127.0.0.1:0",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "urlseed_wait_retry": 1,
            "urlseed_timeout": 600,
            "max_web_seed_connections": 8,
            "tick_interval": 100,
            "alert_mask": lt.alert.category_t.error_notification
            | lt.alert.category_t.status_notification
            | lt.alert.category_t.storage_notification,
            **settings,
        }
    )
    given = lt.load_torrent_buffer(metainfo.encode())
    given.save_path, given.url_seeds, given.trackers = str(folder), list(urls), []
    folder.mkdir(parents=True, exist_ok=True)
    handle = session.add_torrent(given)
    try:
        yield Fetching(handle, session, folder)
    finally:
        session.remove_torrent(handle)
        session.pause()
        del handle, session
