"""Read-only git over HTTP, and the batch call of Git LFS (git-lfs docs/api/batch.md)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from p2pqwen.errors import FormatError
from p2pqwen.hub_api.paths_body import MAX_BODY
from p2pqwen.hub_api.problem import HubProblem
from p2pqwen.hub_api.request import Asked
from p2pqwen.server.hub_catalogue import GitSide, HubRefusedError, LfsFile
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import hub_path
from p2pqwen.values.strict_json import JsonObject, JsonValue, parse_call

MAX_OBJECTS = 1000
"""LFS objects of one batch; git-lfs requests 100."""
CLONES = 16
"""Clones served at once. Each holds about 2 MiB and the ids of its objects."""
IDLE_SECONDS = 60.0
"""A client that takes longer for `_AT_ONCE` bytes is disconnected."""
_AT_ONCE = 1 << 20
_LOOK_SECONDS = 1.0
_LFS_TYPE = "application/vnd.git-lfs+json"
_SERVICE = "git-upload-pack"
_RESULT = f"application/x-{_SERVICE}-result"
_UNCACHED = {"Cache-Control": "no-cache"}
Result = TypeVar("Result")


class GitAnswers:
    """Answers git. A pack is streamed while it is made. Refuses more than `CLONES` at once."""

    def __init__(self, side: GitSide) -> None:
        self.side = side
        self._pool = ThreadPoolExecutor(CLONES, "hub git")  # each may wait for a download
        self._running = 0

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: web.Request, asked: Asked, repo: RepoId, pool: Executor) -> web.StreamResponse:
        """Answer git's two requests, the advertisement and the fetch; raises `HubRefusedError`, `P2pqwenError`."""
        if asked.path == "info/refs":
            if request.query.get("service") != _SERVICE:
                raise HubRefusedError(HubProblem(403, None, "only smart HTTP, and only reading"))
            body = await asyncio.get_running_loop().run_in_executor(pool, self.side.advertise, repo)
            spoken = request.headers.get("Git-Protocol", "").split(":")
            if "version=2" not in spoken:  # git would take the answer for an empty repository
                needs = "git 2.18 and protocol.version=2"
                body = self.side.refusal(f"this server speaks only protocol version 2: it takes {needs}")
            return web.Response(body=body, content_type=f"application/x-{_SERVICE}-advertisement", headers=_UNCACHED)
        if request.method != "POST":
            raise HubRefusedError(HubProblem(405, None, "git asks with POST"))
        try:
            wanted = await request.read()
        except web.RequestPayloadError as error:  # it claims to be compressed, and is not
            raise HubRefusedError(HubProblem(400, None, "not a request that git makes")) from error
        if self._running >= CLONES:
            body = self.side.refusal(f"{CLONES} clones are being served; try again in a minute")
            return web.Response(body=body, content_type=_RESULT, headers=_UNCACHED)
        self._running += 1
        try:
            return await self._send(request, repo, wanted)
        finally:
            self._running -= 1

    async def _send(self, request: web.Request, repo: RepoId, wanted: bytes) -> web.StreamResponse:
        gone = threading.Event()
        pieces: Iterator[bytes] = iter(())
        response = web.StreamResponse(headers=_UNCACHED)
        response.content_type = _RESULT
        try:
            # Before the status line: a failure here still has a status of its own.
            pieces = await self._run(request, gone, lambda: self.side.upload_pack(repo, wanted, gone.is_set))
            piece = await self._run(request, gone, lambda: next(pieces, b""))
            await response.prepare(request)
            while piece:
                async with asyncio.timeout(IDLE_SECONDS):
                    await response.write(piece)
                piece = await self._run(request, gone, lambda: _gathered(pieces))
            await response.write_eof()
        except Exception:
            if not response.prepared:
                raise
            if request.transport is not None:  # no client takes a truncated pack for a whole one
                request.transport.abort()
        finally:
            gone.set()
            with suppress(RuntimeError):  # the endpoint has stopped
                self._pool.submit(_close_quietly, pieces)
        return response

    async def _run(self, request: web.Request, gone: threading.Event, call: Callable[[], Result]) -> Result:
        """Run a call on a thread, and set `gone` if the client disconnects meanwhile."""
        coming = asyncio.get_running_loop().run_in_executor(self._pool, call)
        while not coming.done():
            await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
            if request.transport is None or request.transport.is_closing():
                gone.set()
        return coming.result()


def _gathered(pieces: Iterator[bytes]) -> bytes:
    """Return about `_AT_ONCE` bytes, none at the end."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) >= _AT_ONCE:
            break
    return bytes(found)


def _close_quietly(pieces: Iterator[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        with suppress(ValueError):  # "generator already executing": it is closed when that call ends
            close()


async def answer_lfs(request: web.Request, repo: RepoId, side: GitSide, pool: Executor, base: str) -> web.Response:
    """Answer a batch: the URL of each object, the same as for any file; `base` is the endpoint's address."""
    if request.method != "POST":
        raise HubRefusedError(HubProblem(405, None, "a batch is asked for with POST"))
    given = await _batch(request)
    if given.get("operation") != "download":
        raise HubRefusedError(HubProblem(403, None, "only reading"))
    asked = _objects(given)
    found = await asyncio.get_running_loop().run_in_executor(pool, side.lfs, repo, [oid for oid, _ in asked])
    rows: list[JsonValue] = [_row(oid, size, found.get(oid), f"{base}/{quote(hub_path(repo))}") for oid, size in asked]
    body = {"transfer": "basic", "objects": rows, "hash_algo": "sha256"}
    return web.json_response(body, content_type=_LFS_TYPE)


async def _batch(request: web.Request) -> JsonObject:
    try:
        return parse_call(await request.read(), max_bytes=MAX_BODY)
    except (FormatError, web.RequestPayloadError) as error:
        raise HubRefusedError(HubProblem(422, None, "that is not a batch of Git LFS")) from error


def _objects(given: JsonObject) -> list[tuple[str, int]]:
    rows = given.get("objects")
    if not isinstance(rows, list) or len(rows) > MAX_OBJECTS:
        raise HubRefusedError(HubProblem(422, None, f"a batch names at most {MAX_OBJECTS} objects"))
    found: list[tuple[str, int]] = []
    for row in rows:
        oid, size = (row.get("oid"), row.get("size")) if isinstance(row, dict) else (None, None)
        if not isinstance(oid, str) or type(size) is not int:
            raise HubRefusedError(HubProblem(422, None, "an object of a batch has an oid and a size"))
        found.append((oid, size))
    return found


def _row(oid: str, size: int, file: LfsFile | None, base: str) -> JsonObject:
    if file is None or file.size != size:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "there is no such object"}}
    href = f"{base}/resolve/{file.commit}/{quote(file.path)}"
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": {"href": href}}}
