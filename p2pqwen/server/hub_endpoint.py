"""An HTTP server that answers like the Hugging Face Hub, from what a `Catalogue` knows.

`HF_ENDPOINT` points programs here instead of at the Hub. It answers the requests seen from real clients
(tests/CLIENTS.md), and all others with the Hub's own 404. Calls to the catalogue run on threads. Resolved names are
cached for 1 second, since some programs ask thousands of times when they start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from aiohttp import web
from aiohttp.typedefs import Handler

from p2pqwen.errors import FormatError, P2pqwenError
from p2pqwen.hub_api import answers, registry
from p2pqwen.hub_api.listing import FILE_BYTES, NamedCommit
from p2pqwen.hub_api.paths_body import MAX_BODY, asked_paths
from p2pqwen.hub_api.problem import HubProblem, entry_not_found, repo_not_found
from p2pqwen.hub_api.request import Asked, parse_path
from p2pqwen.loop_thread import LoopThread
from p2pqwen.net.fault_log import fault_log
from p2pqwen.portable.sockets import take_port_again
from p2pqwen.server.hub_access import HubAccess
from p2pqwen.server.hub_body import answer_file
from p2pqwen.server.hub_catalogue import Catalogue, GitSide, HubMovedError, HubRefusedError, HubSnapshot, problem_of
from p2pqwen.server.hub_git import answer_git, answer_lfs
from p2pqwen.server.hub_upstream import HubUpstream
from p2pqwen.values.byte_range import parse_range
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.weighed_cache import WeighedCache

TREE_PAGE = 1000
LIST_PAGE = 1000
MAX_WORDS = 16
"""Words of a search: each one scans all names."""
KEPT_SECONDS = 1.0
"""How long a resolved name leads to the same commit."""
_KEPT_BYTES = 32 << 20
_WORKERS, _OPENING = 16, 64
_STOP_SECONDS = 3.0
_BACKLOG = 512
_READ = frozenset({"GET", "HEAD"})
_UPSTREAM_ALONE = frozenset({"other", "resolve-cache"})
_PASSED = frozenset({"RepoNotFound", "RevisionNotFound"})


@dataclass(frozen=True, slots=True)
class HubServerSettings:
    """Where the endpoint listens (port 0: any free one), and who may send requests."""

    host: str = "127.0.0.1"
    port: int = 0
    access: HubAccess = field(default_factory=HubAccess)


class HubEndpoint:
    """Serves a catalogue while the block lasts, on a thread of its own; raises `P2pqwenError` if it cannot listen.

    `port` is the one it got.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: HubServerSettings = HubServerSettings(),
        *,
        git: GitSide | None = None,
        upstream: HubUpstream | None = None,
    ) -> None:
        self._catalogue, self._settings, self._git, self._upstream = catalogue, settings, git, upstream
        self.host, self.port = settings.host, settings.port
        self._pool = ThreadPoolExecutor(_WORKERS, "hub endpoint")
        self._opening = ThreadPoolExecutor(_OPENING, "hub open")  # may wait for a download to begin
        self._thread = LoopThread("hub endpoint")
        self._runner: web.AppRunner | None = None
        self._kept: WeighedCache[tuple[RepoId, str], tuple[float, HubSnapshot]] = WeighedCache(_KEPT_BYTES, _weight)

    @property
    def url(self) -> str:
        """The address for `HF_ENDPOINT`; if it listens on all interfaces, the loopback address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        listener = _listen(self.host, self.port)
        self.port = int(listener.getsockname()[1])
        self._thread.start()
        self._thread.call(self._start(listener))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._upstream is not None:
            with contextlib.suppress(TimeoutError):
                self._thread.call(self._upstream.close(), _STOP_SECONDS)
        if self._runner is not None:
            with contextlib.suppress(TimeoutError):
                self._thread.call(self._runner.cleanup(), _STOP_SECONDS)
        self._thread.stop(_STOP_SECONDS)
        for pool in (self._pool, self._opening):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _start(self, listener: socket.socket) -> None:
        app = web.Application(middlewares=[self._guard()], client_max_size=MAX_BODY)
        app.router.add_route("*", r"/{tail:[\s\S]*}", self._answer)  # a dot does not match a newline
        self._runner = web.AppRunner(app, access_log=None, logger=fault_log(), shutdown_timeout=0.2)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()

    def _guard(self) -> Any:  # noqa: ANN401 - aiohttp's middleware
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = self._settings.access.refusal(request.headers, request.remote or "")
            if refused is not None:
                return refusal(refused)
            try:
                return await handler(request)
            except web.HTTPException as error:  # the body is too large
                return refusal(HubProblem(error.status, None, error.reason))
            except P2pqwenError as error:
                return refusal(problem_of(error))
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001 - our own fault gets the fields of every other refusal
                return refusal(HubProblem(500, None, f"the request broke: {type(error).__name__}"))

        return guarded

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = parse_path(request.rel_url.raw_path)
        upstream = self._upstream
        if upstream is None or not _may_pass(request, asked):
            return await self._answer_here(request, asked)
        if asked.kind in _UPSTREAM_ALONE:
            return await upstream.pass_on(request, asked, HubProblem(404, None, "Not found"), self._own_url(request))
        try:
            return await self._answer_here(request, asked)
        except HubRefusedError as error:
            if error.problem.code not in _PASSED:
                raise
            return await upstream.pass_on(request, asked, error.problem, self._own_url(request))

    async def _answer_here(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        try:
            return await self._answer_kind(request, asked)
        except HubMovedError as moved:
            return _moved(request, asked.repo, moved.own)

    async def _answer_kind(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        match asked.kind:
            case "info" | "tree" | "resolve" | "raw" | "refs" | "list" if request.method in _READ:
                return await self._read(request, asked)
            case "paths-info" if request.method == "POST":
                return await self._paths_info(request, asked)
            case "registry" if request.method in _READ:
                return await self._registry(request, asked)
            case "git" | "lfs-batch" if self._git is not None:
                return await self._ask_git(request, asked, self._git)
        if asked.kind == "other" or request.method in _READ:
            raise HubRefusedError(HubProblem(404, None, "Not found"))
        return refusal(HubProblem(405, None, f"{request.method} is not possible here"), Allow="GET, HEAD")

    async def _ask_git(self, request: web.Request, asked: Asked, side: GitSide) -> web.StreamResponse:
        repo = _repo(asked)
        if repo is None:
            raise HubRefusedError(repo_not_found(asked.repo))
        if asked.kind == "lfs-batch":
            return await answer_lfs(request, repo, side, self._pool, self._own_url(request))
        return await answer_git(request, asked, repo, side, self._pool)

    async def _registry(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Answer what llama.cpp and Ollama request: a GGUF file by its quantisation."""
        if not asked.repo.strip("/"):
            return web.json_response({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        repo = _repo(asked)
        kind, _, name = asked.path.partition("/")
        if repo is None or kind not in {"manifests", "blobs"}:
            raise HubRefusedError(repo_not_found(asked.repo))
        snapshot = await self._snapshot(repo, "main")
        files = snapshot.info.files
        if kind == "manifests":
            model = await self._call(registry.model_of, files.values(), name)
            if model is None:
                return refusal(entry_not_found(f"no GGUF file of {repo} is {name}"))
            return web.json_response(model.manifest, content_type=registry.MANIFEST_TYPE)
        digest = name.removeprefix("sha256:")
        path = await self._call(registry.path_of, files.values(), digest)
        if path is not None:
            return await answer_file(request, snapshot, path, self._opening)
        config = await self._call(registry.config_of, files.values(), digest)
        if config is None:
            return refusal(entry_not_found(name))
        return _part(request, config, registry.CONFIG_TYPE)

    async def _read(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.kind == "list":
            return await self._list(request, asked)
        repo = _repo(asked)
        if repo is None:
            raise HubRefusedError(repo_not_found(asked.repo))
        if asked.kind == "refs":
            return web.json_response(answers.refs(await self._call(self._catalogue.refs, repo)))
        snapshot = await self._snapshot(repo, asked.revision)
        if asked.kind == "info":
            blobs = request.query.get("blobs", "").lower() in {"true", "1"}
            return await self._json(lambda: answers.info(snapshot.info, blobs=blobs))
        if asked.kind == "tree":
            return await self._tree(request, asked, snapshot)
        if asked.path not in snapshot.info.files:
            return refusal(entry_not_found(asked.path), **{"X-Repo-Commit": str(snapshot.info.commit)})
        return await answer_file(request, snapshot, asked.path, self._opening)

    async def _list(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        query = request.query
        search, author, after = query.get("search", ""), query.get("author", ""), query.get("cursor", "")
        limit = _number(query.get("limit"), LIST_PAGE, at_most=LIST_PAGE)
        if len(search.split()) > MAX_WORDS:
            raise HubRefusedError(HubProblem(400, None, f"a search has at most {MAX_WORDS} words"))

        def page() -> list[NamedCommit]:
            found = self._catalogue.listed(asked.repo_kind, search=search, author=author, after=after)
            return list(islice(found, limit + 1))

        found = await self._call(page)
        response = await self._json(lambda: [answers.summary(one) for one in found[:limit]])
        if len(found) > limit:
            response.headers["Link"] = self._next(request, found[limit - 1].repo.text)
        return response

    async def _tree(self, request: web.Request, asked: Asked, snapshot: HubSnapshot) -> web.StreamResponse:
        recursive = request.query.get("recursive", "").lower() in {"true", "1"}
        rows = await self._call(lambda: answers.tree(snapshot.info, asked.path, recursive=recursive))
        if rows is None:
            problem = HubProblem(404, "EntryNotFound", f"{asked.path} does not exist on {asked.revision}")
            return refusal(problem)
        size = _number(request.query.get("limit"), TREE_PAGE, at_most=TREE_PAGE)
        start = _number(request.query.get("cursor"), 0)
        response = await self._json(lambda: rows[start : start + size])
        if start + size < len(rows):
            response.headers["Link"] = self._next(request, str(start + size))
        return response

    def _next(self, request: web.Request, cursor: str) -> str:
        """Return the link to the next page (RFC 8288)."""
        query = urlencode([*((k, v) for k, v in request.query.items() if k != "cursor"), ("cursor", cursor)])
        return f'<{self._own_url(request)}{request.rel_url.raw_path}?{query}>; rel="next"'

    async def _json(self, make: Callable[[], object]) -> web.Response:
        """Answer with JSON made on a thread, since that takes a while for a repository with very many files."""
        text = await self._call(lambda: json.dumps(make()))
        return web.Response(text=text, content_type="application/json")

    def _own_url(self, request: web.Request) -> str:
        """Return the address that the client used, which may differ from ours behind a forwarded port."""
        return f"http://{quote(request.headers.get('Host', ''), safe='[]:.-')}"

    async def _paths_info(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        repo = _repo(asked)
        if repo is None:
            raise HubRefusedError(repo_not_found(asked.repo))
        paths = asked_paths(await request.read(), request.content_type)
        if paths is None:
            return refusal(HubProblem(400, None, 'the body must hold "paths", a list of texts'))
        snapshot = await self._snapshot(repo, asked.revision)
        return await self._json(lambda: answers.paths_info(snapshot.info, paths))

    async def _snapshot(self, repo: RepoId, revision: str) -> HubSnapshot:
        now = time.monotonic()
        known = self._kept.get((repo, revision))
        if known is not None and now - known[0] < KEPT_SECONDS:
            return known[1]
        found: HubSnapshot = await self._call(self._catalogue.snapshot, repo, revision)
        self._kept.put((repo, revision), (now, found))
        return found

    async def _call(self, call: Any, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the call takes and gives
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def _part(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """Answer with the requested range of a few bytes made here."""
    wanted = parse_range(request.headers.get("Range"), len(body))
    if wanted is None:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    headers = {"Accept-Ranges": "bytes"} | ({"Content-Range": wanted.content_range} if wanted.partial else {})
    status, part = 206 if wanted.partial else 200, body[wanted.start : wanted.stop]
    return web.Response(status=status, body=part, headers=headers, content_type=content_type)


def _weight(kept: tuple[float, HubSnapshot]) -> int:
    return FILE_BYTES * (1 + len(kept[1].info.files))


def _may_pass(request: web.Request, asked: Asked) -> bool:
    """Tell whether a request may be passed on: it only reads, and is not one that only such an endpoint answers."""
    reads = request.method in _READ or (request.method == "POST" and asked.kind == "paths-info")
    return reads and asked.kind not in {"git", "lfs-batch", "lfs-object", "registry"}


def refusal(problem: HubProblem, **headers: str) -> web.Response:
    """Return an error in the Hub's form."""
    return web.json_response(dict(problem.body), status=problem.status, headers={**problem.headers, **headers})


def _moved(request: web.Request, asked: str, own: RepoId) -> web.Response:
    """Redirect to the listed name, as the Hub does: 307, and the same path with that name in it."""
    path = request.rel_url.raw_path.replace(quote(asked), quote(own.text), 1)
    query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
    text = f"Temporary Redirect. Redirecting to {path}"
    return web.Response(status=307, headers={"Location": f"{path}{query}"}, text=text)


def _repo(asked: Asked) -> RepoId | None:
    try:
        return RepoId(asked.repo, asked.repo_kind)
    except FormatError:
        return None


def _number(text: str | None, default: int, *, at_most: int = 1 << 31) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 10:
        return default
    return min(int(text), at_most) or default


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    take_port_again(listener)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise P2pqwenError(
            f"cannot listen on {host}:{port}", got=error.strerror or str(error), hint="choose another port: --listen"
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return listener
