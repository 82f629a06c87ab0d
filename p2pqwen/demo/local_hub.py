"""A small honest Hub on loopback that answers the calls of huggingface_hub 2.x as huggingface.co does.

Large (LFS) files redirect with 302 to a signed, expiring URL on another host and port; small files redirect with 307 to
a relative path with a query. Any commit can be fetched with git. Nothing here misbehaves: the test suite's simulator
subclasses it for that.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from aiohttp import web

from p2pqwen.demo.hub_call import Call, parse_call
from p2pqwen.demo.hub_repository import HubRepository, StoredFile
from p2pqwen.demo.local_xet import LocalXet
from p2pqwen.demo.url_signer import UrlSigner
from p2pqwen.errors import NotFoundError
from p2pqwen.hub.git_upload_pack import FilterPolicy, advertisement, upload_pack
from p2pqwen.hub_api import answers
from p2pqwen.hub_api.paths_body import asked_paths
from p2pqwen.hub_api.problem import HubProblem, entry_not_found, revision_not_found
from p2pqwen.portable.sockets import take_port_again
from p2pqwen.values.byte_range import parse_range
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import api_path

HOST = "127.0.0.1"
DEFAULT_URL_LIFETIME = 3600
TREE_PAGE = 1000
_BLOCK = 1024 * 1024
_START_SECONDS = 30
_SHUTDOWN_SECONDS = 0.2
_TEXT_SUFFIXES = (".json", ".md", ".txt", ".jinja")
_BESIDE_THE_HUB = frozenset({"cdn", "cas", "xorb", "xet-telemetry"})
_ANSWERED = frozenset({"list", "info", "tree", "refs", "paths-info", "resolve", "resolve-cache", "git", "xet-token"})
# Every answer has them, long before a limit is reached; huggingface_hub reads them.
_STANDING_HEADERS = {
    "RateLimit": '"resolvers";r=2999;t=172',
    "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
}


class LocalHub:
    """Serves repositories from its own thread between `start` and `close` (or as a context manager).

    It binds to `host`. `cdn_host` is the host in signed URLs and must resolve to `host`. Any of `tokens` opens private
    and gated repositories.
    """

    def __init__(
        self,
        *,
        host: str = HOST,
        cdn_host: str = "localhost",
        url_lifetime: int = DEFAULT_URL_LIFETIME,
        tokens: Iterable[str] = (),
    ) -> None:
        self.repositories: dict[str, HubRepository] = {}
        self.moved: dict[str, str] = {}  # old name, in lower case, to the current one
        self.tokens = set(tokens)
        self.log: list[Call] = []
        self.page_size = TREE_PAGE
        self.git_filter: FilterPolicy = "allow"
        self.signer = UrlSigner(url_lifetime)
        self._host = host
        self._cdn_host = cdn_host
        self._ports = (0, 0, 0, 0)  # the Hub, content delivery, Xet reconstruction, Xet storage
        self.xet = LocalXet(self._lfs_files)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def add(self, repo: str, folder: Path, *, branch: str = "main") -> CommitId:
        """Commit a folder to a repository, creating it if needed, and return the commit's id."""
        return self.repository(repo).commit(folder, branch=branch)

    def repository(self, repo: str) -> HubRepository:
        """Return the repository of this name, creating it if needed."""
        return self.repositories.setdefault(repo, HubRepository(RepoId.parse(repo)))

    @property
    def endpoint(self) -> str:
        """The Hub's address, for `HF_ENDPOINT`; it survives `close` and `start`."""
        return f"http://{self._host}:{self._ports[0]}"

    @property
    def cdn(self) -> str:
        """The address in signed URLs."""
        return f"http://{self._cdn_host}:{self._ports[1]}"

    def start(self) -> None:
        """Bind the ports and serve."""
        sockets = [_listen(self._host, port) for port in self._ports]
        hub, cdn, cas, storage = (one.getsockname()[1] for one in sockets)
        self._ports = (hub, cdn, cas, storage)
        self.xet.cas, self.xet.storage = f"http://{self._host}:{cas}", f"http://{self._cdn_host}:{storage}"
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(sockets, ready)), name="local hub")
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise TimeoutError("the local hub did not start")

    def close(self) -> None:
        """Stop serving: cut connections and refuse new ones."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended: an earlier `close` was interrupted while it waited
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _serve(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runners = [
            web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS)
            for handler in (self._handle_hub, self._handle_cdn, self._handle_cas, self._handle_storage)
        ]
        try:
            for runner, listener in zip(runners, sockets, strict=True):
                await runner.setup()
                await web.SockSite(runner, listener).start()
            ready.set()
            await self._stop.wait()
        finally:
            for runner in runners:
                await runner.cleanup()

    async def _handle_hub(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._handle(request, parse_call(request.method, request.rel_url.raw_path, cdn=False))

    async def _handle_cdn(self, request: web.BaseRequest) -> web.StreamResponse:
        call = parse_call(request.method, request.rel_url.raw_path, cdn=True)
        if file := self._lfs_file(call):
            call.path = file.path
        return await self._handle(request, call)

    async def _handle_cas(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._handle_xet(request, Call("cas", request.method, str(request.rel_url)))

    async def _handle_storage(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._handle_xet(request, Call("xorb", request.method, str(request.rel_url)))

    async def _handle_xet(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        self.xet.sort(call)
        return await self._handle(request, call)

    async def _handle(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        call.url = str(request.url)
        call.range = request.headers.get("Range")
        call.authorization = request.headers.get("Authorization")
        self.log.append(call)
        response = await self.answer(request, call)
        call.status = response.status
        if call.kind not in _BESIDE_THE_HUB and not response.prepared:
            response.headers.update(_STANDING_HEADERS)
            if call.authorization is None:
                response.headers["X-HF-Warning"] = (
                    "unauthenticated; You are sending unauthenticated requests to the Hub."
                )
        return response

    async def answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """Answer one request; the simulator injects its faults here."""
        if call.kind == "cdn":
            return await self._answer_cdn(request, call)
        if call.kind in {"cas", "xet-telemetry"}:
            return self.xet.answer_cas(request, call)
        if call.kind == "xorb":
            found = self.xet.xorb_file(request)
            return found if isinstance(found, web.Response) else await self.send_file(request, call, found, {})
        if call.kind == "list":
            owner = (request.query.get("author", ""), call.repo_kind)
            shown = [item for item in self.repositories.values() if not item.private]
            rows = [item for item in shown if (item.repo.org, item.repo.kind) == owner]
            return web.json_response([answers.summary(item.at(item.branches["main"])) for item in rows])
        if call.kind not in _ANSWERED:
            return self.refuse(404, None, "Not found")
        if (own := self._own_name(call.repo)) is not None:
            return self._moved(request, call, own)
        problem = self._access_problem(call)
        return problem or await self._answer_repository(request, call, self.repositories[call.repo])

    async def _answer_repository(
        self, request: web.BaseRequest, call: Call, repository: HubRepository
    ) -> web.StreamResponse:
        if call.kind == "git":
            return await self.answer_git(request, call, repository)
        if call.kind == "xet-token":
            return self.xet.answer_token() if self.xet.served else self.refuse(404, None, "Not found")
        if call.kind == "refs":
            return web.json_response(answers.refs(repository.refs))
        try:
            commit = repository.resolve(call.revision)
        except NotFoundError:
            return refused(revision_not_found(call.revision))
        if call.kind == "info":
            blobs = request.query.get("blobs", "").lower() == "true"
            return web.json_response(answers.info(repository.at(commit), blobs=blobs))
        if call.kind == "tree":
            return self._answer_tree(request, call, repository, commit)
        if call.kind == "paths-info":
            paths = asked_paths(await request.read(), request.content_type) or []
            return web.json_response(answers.paths_info(repository.at(commit), paths))
        return await self._answer_file(request, call, repository, commit)

    def _own_name(self, name: str) -> str | None:
        """Return the current name of a repository that is requested by an old name, or by its name in another case."""
        if name in self.repositories:
            return None
        named = {one.lower(): one for one in self.repositories}
        return self.moved.get(name.lower()) or named.get(name.lower())

    @staticmethod
    def _moved(request: web.BaseRequest, call: Call, own: str) -> web.StreamResponse:
        """Redirect to the repository's current name, as the Hub does: 307 and the same path with that name."""
        path = request.rel_url.raw_path.replace(f"/{quote(call.repo)}", f"/{own}", 1)
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        text = f"Temporary Redirect. Redirecting to {path}"
        return web.Response(status=307, headers={"Location": f"{path}{query}"}, text=text)

    def refuse(self, status: int, code: str | None, message: str) -> web.StreamResponse:
        """Make an error as the Hub does: a code and a message in headers, and the message in the body."""
        return refused(HubProblem(status, code, message))

    def _access_problem(self, call: Call) -> web.StreamResponse | None:
        token = _token(call.authorization)
        if token is not None and token not in self.tokens:
            return self.refuse(401, None, "Invalid credentials in Authorization header")
        repository = self.repositories.get(call.repo)
        if repository is None or (repository.private and token is None):
            if token is None:  # without a token, the Hub does not say whether a repository exists
                response = self.refuse(401, None, "Invalid username or password.")
                response.headers["WWW-Authenticate"] = 'Basic realm="Authentication required", charset="UTF-8"'
                return response
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if repository.disabled:
            return self.refuse(403, None, "Access to this resource is disabled.")
        if repository.gated and token is None and call.kind in {"resolve", "resolve-cache", "git", "xet-token"}:
            message = f"Access to model {call.repo} is restricted. You must have access to it and be authenticated."
            return self.refuse(401, "GatedRepo", message)
        return None

    def _answer_tree(
        self, request: web.BaseRequest, call: Call, repository: HubRepository, commit: CommitId
    ) -> web.StreamResponse:
        recursive = request.query.get("recursive", "").lower() == "true"
        rows = answers.tree(repository.at(commit), call.path, recursive=recursive)
        if rows is None:
            return self.refuse(404, "EntryNotFound", f"{call.path} does not exist on {call.revision}")
        if self.xet.served:
            known = {one.path: one for one in repository.commits[commit].values() if one.sha256}
            rows = [
                row | {"xetHash": self.xet.hash_of(known[path])} if (path := str(row["path"])) in known else row
                for row in rows
            ]
        start = int(request.query.get("cursor", "0"))
        page = web.json_response(rows[start : start + self.page_size])
        if start + self.page_size < len(rows):
            query = urlencode(dict(request.query) | {"cursor": str(start + self.page_size)})
            page.headers["Link"] = f'<{self.endpoint}{request.rel_url.raw_path}?{query}>; rel="next"'
        return page

    async def _answer_file(
        self, request: web.BaseRequest, call: Call, repository: HubRepository, commit: CommitId
    ) -> web.StreamResponse:
        file = repository.commits[commit].get(call.path)
        common = {"X-Repo-Commit": str(commit), "Accept-Ranges": "bytes"}
        if file is None:
            response = refused(entry_not_found(call.path))
            response.headers.update(common)
            return response
        if call.kind == "resolve":
            return self._redirect(request, repository.repo, file, common)
        if file.sha256:
            return await self.answer_lfs_in_cache(request, call, file, common)
        return await self.send_file(request, call, file, common | {"ETag": f'"{file.etag}"'})

    def _redirect(
        self, request: web.BaseRequest, repo: RepoId, file: StoredFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        path = quote(file.path)
        if file.sha256:
            target = f"/xet-bridge/{repo}/{file.sha256}"
            headers["Location"] = f"{self.cdn}{target}?{self.signer.query(target, file.path.rsplit('/', 1)[-1])}"
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
            route = f"{self.endpoint}/api/{api_path(repo)}/xet-read-token/{headers['X-Repo-Commit']}"
            headers |= self.xet.headers(file, route)
            return web.Response(status=302, text="Found. Redirecting", headers=headers)
        query = urlencode({request.rel_url.path: "", "etag": f'"{file.etag}"'})
        headers["Location"] = f"/api/resolve-cache/{api_path(repo)}/{headers['X-Repo-Commit']}/{path}?{query}"
        return web.Response(status=307, text="Temporary Redirect. Redirecting", headers=headers)

    async def answer_lfs_in_cache(
        self, request: web.BaseRequest, call: Call, file: StoredFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Answer `resolve-cache` for an LFS file: not found."""
        del request, call, file, headers
        return refused(entry_not_found(""))

    async def _answer_cdn(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        file = self._lfs_file(call)
        if file is None:
            return web.Response(
                status=404, text="<Error><Code>NoSuchKey</Code></Error>", content_type="application/xml"
            )
        if not self.signer.holds(request.rel_url.path, request.query):
            return web.Response(
                status=403, text="<Error><Code>AccessDenied</Code></Error>", content_type="application/xml"
            )
        return await self.send_file(request, call, file, {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes"})

    def _lfs_files(self) -> Iterable[StoredFile]:
        commits = (files for one in self.repositories.values() for files in one.commits.values())
        return (file for files in commits for file in files.values() if file.sha256)

    def _lfs_file(self, call: Call) -> StoredFile | None:
        repository = self.repositories.get(call.repo)
        sha256 = call.url.split("?")[0].rsplit("/", 1)[-1]
        return repository.lfs_file(sha256) if repository else None

    async def send_file(
        self, request: web.BaseRequest, call: Call, file: StoredFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send a file or the requested range, for GET or HEAD."""
        wanted = parse_range(call.range, file.size)
        if wanted is None:
            return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{file.size}"})
        response = web.StreamResponse(status=206 if wanted.partial else 200, headers=headers)
        response.content_type = "application/octet-stream"
        if wanted.partial:
            response.headers["Content-Range"] = wanted.content_range
        if self._may_compress(request, call, file):
            response.enable_compression(web.ContentCoding.gzip)
        else:
            response.content_length = len(wanted)
        call.status = response.status
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            if request.method != "HEAD":
                await self.write_body(request, response, call, file, (wanted.start, wanted.stop))
        return response

    @staticmethod
    def _may_compress(request: web.BaseRequest, call: Call, file: StoredFile) -> bool:
        # The Hub gzips text for clients that accept it; the answer then has no Content-Length.
        accepted = "gzip" in request.headers.get("Accept-Encoding", "")
        text = file.path.endswith(_TEXT_SUFFIXES) and file.size > 0
        return accepted and text and request.method == "GET" and call.range is None

    async def write_body(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        call: Call,
        file: StoredFile,
        span: tuple[int, int],
    ) -> None:
        """Write the bytes from `span[0]` up to `span[1]`; the simulator cuts, slows and corrupts them here."""
        del request
        start, stop = span
        if isinstance(file.source, bytes):
            await response.write(file.source[start:stop])
            call.sent += stop - start
            return
        with file.source.open("rb") as source:
            source.seek(start)
            while start < stop and (block := source.read(min(_BLOCK, stop - start))):
                await response.write(block)
                start += len(block)
                call.sent += len(block)

    async def answer_git(self, request: web.BaseRequest, call: Call, repository: HubRepository) -> web.StreamResponse:
        """Answer git's 2 requests, the advertisement and the fetch."""
        if call.path == "info/refs":
            if request.query.get("service") != "git-upload-pack":
                return web.Response(status=403, text="only smart HTTP, and only reading")
            body = advertisement(self.git_filter)
            return web.Response(body=body, content_type="application/x-git-upload-pack-advertisement")
        body = await asyncio.to_thread(upload_pack, repository, await request.read(), self.git_filter)
        call.sent = len(body)
        return web.Response(body=body, content_type="application/x-git-upload-pack-result")


def refused(problem: HubProblem) -> web.Response:
    """Return an error as the Hub sends it."""
    return web.json_response(dict(problem.body), status=problem.status, headers=dict(problem.headers))


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    take_port_again(listener)
    listener.bind((host, port))
    return listener


def _token(authorization: str | None) -> str | None:
    """Return the token of a Bearer header, or the password of a Basic one, in which git sends it."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(value).decode().partition(":")[2]
    return value or None
