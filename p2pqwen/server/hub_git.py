"""Read-only git over HTTP, and the batch call of Git LFS (git-lfs docs/api/batch.md)."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
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
_LFS_TYPE = "application/vnd.git-lfs+json"
_SERVICE = "git-upload-pack"
_UNCACHED = {"Cache-Control": "no-cache"}


async def answer_git(request: web.Request, asked: Asked, repo: RepoId, side: GitSide, pool: Executor) -> web.Response:
    """Answer git's two requests, the advertisement and the fetch; raises `HubRefusedError`."""
    loop = asyncio.get_running_loop()
    if asked.path == "info/refs":
        if request.query.get("service") != _SERVICE:
            raise HubRefusedError(HubProblem(403, None, "only smart HTTP, and only reading"))
        body = await loop.run_in_executor(pool, side.advertise, repo)
        return web.Response(body=body, content_type=f"application/x-{_SERVICE}-advertisement", headers=_UNCACHED)
    if request.method != "POST":
        raise HubRefusedError(HubProblem(405, None, "git asks with POST"))
    try:
        wanted = await request.read()
    except web.RequestPayloadError as error:  # it claims to be compressed, and is not
        raise HubRefusedError(HubProblem(400, None, "not a request that git makes")) from error
    body = await loop.run_in_executor(pool, side.upload_pack, repo, wanted)
    return web.Response(body=body, content_type=f"application/x-{_SERVICE}-result", headers=_UNCACHED)


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
