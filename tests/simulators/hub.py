"""The Hub with faults: `LocalHub`, whose answers can be refused, delayed, cut, corrupted or redirected in circles.

In a test:

    with HubSimulator() as hub:
        commit = hub.add("Qwen/Tiny", folder)
        hub.fault("429", "*.safetensors", times=2)
        ...
        assert hub.count(kind="cdn", method="GET") == 1

As a process, for other programs (one JSON line with the addresses on stdout, ends with stdin or SIGTERM):

    python -m tests.simulators.hub --folder DIR --repo Qwen/Tiny --fault 429=*.safetensors:2
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from p2pqwen.demo.hub_call import Call
from p2pqwen.demo.hub_repository import HubRepository, StoredFile
from p2pqwen.demo.local_hub import LocalHub
from p2pqwen.demo.url_signer import UrlSigner
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.faults import Effect, Fault, FaultTable, preset
from tests.simulators.git_http_backend import GitHttpBackend

CONTROL = "/_simulator/"
_EFFECT = web.RequestKey("effect", Effect)
_SLOW_BLOCK, _FAST_BLOCK = 16 * 1024, 256 * 1024
_BLOCKS_A_SECOND = 50  # at most, so that holding a rate costs little
_CORRUPTION_STEP = 64 * 1024


class Line:
    """A rate that all connections to the simulator share."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def take(self, count: int) -> float:
        """Return how many seconds to wait after `count` bytes; first come, first served."""
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self.bytes_per_second
        return self._free_at - now


class HubSimulator(LocalHub):
    """`LocalHub` with switches, which may be changed while it serves."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.faults = FaultTable()
        self.git: Literal["on", "off", "forbidden", "backend"] = "on"
        """`backend` answers git requests with the real `git http-backend`."""
        self.lfs_in_cache: Literal["missing", "right", "pointer", "short"] = "missing"
        """The answer of `resolve-cache` for an LFS file."""
        self.line: Line | None = None
        """The rate that bodies of large files share; None for no limit."""
        self._backends: dict[str, GitHttpBackend] = {}

    def fault(
        self, name: str, path: str = "*", *, on: Iterable[str] | None = None, times: int | None = None, skip: int = 0
    ) -> Fault:
        """Add a fault by its name in `faults.PRESETS`."""
        return self.faults.add(preset(name, path, on=on, times=times, skip=skip))

    def rename(self, old: str, new: str) -> None:
        """Rename a repository, as its owner would: the old name redirects to the new one from then on."""
        self.repositories[new] = self.repositories.pop(old)
        self.repositories[new].repo = RepoId.parse(new)
        self.moved[old.lower()] = new

    def delete(self, repo: str) -> None:
        """Delete a repository, as its owner would: requests get 404 with a known token, 401 without."""
        del self.repositories[repo]

    def expire_urls(self) -> None:
        """Make all signed URLs so far answer 403."""
        self.signer = UrlSigner(self.signer.lifetime)

    def calls(self, *, kind: str | None = None, path: str | None = None, method: str | None = None) -> list[Call]:
        """Return the requests so far, of one kind, path or method."""
        return [
            call
            for call in list(self.log)
            if kind in (None, call.kind) and path in (None, call.path) and method in (None, call.method)
        ]

    def count(self, *, kind: str | None = None, path: str | None = None, method: str | None = None) -> int:
        """Return the number of such requests."""
        return len(self.calls(kind=kind, path=path, method=method))

    async def _handle(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        if request.rel_url.path.startswith(CONTROL):
            return await self._control(request)
        return await super()._handle(request, call)

    async def answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        effect = self.faults.effect_on(call)
        request[_EFFECT] = effect
        if effect.hang is not None:
            await self._wait(effect.hang)
        if effect.reset_after == 0:
            return _cut(request)
        if effect.redirect is not None:
            target = str(request.url) if effect.redirect == "self" else effect.redirect
            return web.Response(status=302, headers={"Location": target})
        if effect.status is not None:
            return _refusal(request, effect)
        if effect.expire:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        if effect.ignore_range:
            call.range = None
        return await super().answer(request, call)

    async def _wait(self, seconds: float) -> None:
        assert self._stop is not None
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def send_file(
        self, request: web.BaseRequest, call: Call, file: StoredFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        effect = request[_EFFECT]
        if effect.truncate_to is not None:
            content = _read(file, 0, min(effect.truncate_to, file.size))
            return web.Response(status=200, body=content, headers=headers)
        return await super().send_file(request, call, file, headers)

    async def write_body(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        call: Call,
        file: StoredFile,
        span: tuple[int, int],
    ) -> None:
        effect, line = request[_EFFECT], self.line
        start, stop = span
        changed = (effect.reset_after, effect.bytes_per_second, effect.corrupt_at) != (None, None, None)
        if not changed and line is None:
            await super().write_body(request, response, call, file, span)
            return
        end = stop if effect.reset_after is None else min(stop, start + effect.reset_after)
        rate = effect.bytes_per_second or (line.bytes_per_second if line else 0.0)
        size = int(min(max(_SLOW_BLOCK, rate / _BLOCKS_A_SECOND), _FAST_BLOCK))
        while start < end:
            block = bytearray(_read(file, start, min(start + size, end)))
            if effect.corrupt_at is not None:
                _spoil(block, start, effect.corrupt_at)
            await response.write(block)
            start += len(block)
            call.sent += len(block)
            if effect.bytes_per_second is not None:
                await self._wait(len(block) / effect.bytes_per_second)
            if line is not None:
                await self._wait(line.take(len(block)))
        if end < stop:
            _cut(request)

    async def answer_lfs_in_cache(
        self, request: web.BaseRequest, call: Call, file: StoredFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        if self.lfs_in_cache == "right":
            return await self.send_file(request, call, file, headers | {"ETag": f'"{file.etag}"'})
        if self.lfs_in_cache == "pointer":
            return web.Response(body=file.pointer, headers=headers)
        if self.lfs_in_cache == "short":
            return web.Response(body=_read(file, 0, file.size // 2), headers=headers)
        return await super().answer_lfs_in_cache(request, call, file, headers)

    async def answer_git(self, request: web.BaseRequest, call: Call, repository: HubRepository) -> web.StreamResponse:
        if self.git == "off":
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if self.git == "forbidden":
            return self.refuse(403, None, "git access is not allowed")
        if self.git == "backend":
            backend = self._backends.get(call.repo) or self._backends.setdefault(call.repo, GitHttpBackend())
            return await backend.answer(request, call, repository, allow_filter=self.git_filter == "allow")
        return await super().answer_git(request, call, repository)

    def close(self) -> None:
        super().close()
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        """Let other processes edit the faults and read the log: see `main`."""
        action = request.rel_url.path.removeprefix(CONTROL)
        if action == "faults" and request.method == "DELETE":
            self.faults.clear()
        elif action == "faults":
            wanted = await request.json()
            self.fault(wanted.pop("name"), **wanted)
        elif action == "expire":
            self.expire_urls()
        elif action == "delete":
            self.delete((await request.json())["repo"])
        elif action == "switch":
            for name, value in (await request.json()).items():
                if name == "xet":
                    self.xet.served = value
                elif name in {"git", "git_filter", "lfs_in_cache", "page_size"}:
                    setattr(self, name, value)
                else:
                    raise web.HTTPBadRequest
        elif action != "log":
            raise web.HTTPNotFound
        return web.json_response([asdict(call) for call in self.log] if action == "log" else {})


def _refusal(request: web.BaseRequest, effect: Effect) -> web.StreamResponse:
    assert effect.status is not None
    body = None if request.method == "HEAD" else effect.body
    return web.Response(status=effect.status, headers=effect.headers, body=body)


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _read(file: StoredFile, start: int, stop: int) -> bytes:
    if isinstance(file.source, bytes):
        return file.source[start:stop]
    with file.source.open("rb") as source:
        source.seek(start)
        return source.read(stop - start)


def _spoil(block: bytearray, start: int, first: int) -> None:
    """Flip the bytes of this block at file offsets first, first + 64 KiB, …."""
    begin = max(0, start - first)
    step = -(-begin // _CORRUPTION_STEP) * _CORRUPTION_STEP + first
    for offset in range(step, start + len(block), _CORRUPTION_STEP):
        block[offset - start] ^= 0xFF


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The Hub with faults, as a process.")
    parser.add_argument("--folder", type=Path, action="append", required=True, help="one for each --repo")
    parser.add_argument("--repo", action="append", required=True)
    parser.add_argument("--fault", action="append", default=[], help="NAME[=GLOB][:TIMES], names in faults.PRESETS")
    parser.add_argument("--token", action="append", default=[], help="a token the Hub knows")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--gated", action="store_true")
    parser.add_argument("--url-lifetime", type=int, default=3600, help="seconds a signed URL holds")
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind at")
    parser.add_argument("--cdn-host", default="localhost")
    parser.add_argument("--git", choices=("on", "off", "forbidden", "backend"), default="on")
    parser.add_argument("--git-filter", choices=("allow", "ignore", "refuse"), default="allow")
    parser.add_argument("--no-xet", action="store_true", help="large files over plain HTTP alone")
    parser.add_argument("--lfs-in-cache", choices=("missing", "right", "pointer", "short"), default="missing")
    return parser.parse_args()


def _add_fault(hub: HubSimulator, text: str) -> None:
    text, _, times = text.partition(":")
    name, _, path = text.partition("=")
    hub.fault(name, path or "*", times=int(times) if times else None)


def main() -> None:
    """Serve until stdin ends or a signal comes.

    While it runs, `GET /_simulator/log`, `POST /_simulator/faults` with {"name", "path", "on", "times", "skip"},
    `DELETE /_simulator/faults`, `POST /_simulator/expire`, `POST /_simulator/delete` with {"repo"} and
    `POST /_simulator/switch` with {"git" | "git_filter" | "lfs_in_cache" | "xet": …} control it.
    """
    wanted = _arguments()
    hub = HubSimulator(
        host=wanted.host, cdn_host=wanted.cdn_host, url_lifetime=wanted.url_lifetime, tokens=wanted.token
    )
    hub.git, hub.git_filter, hub.lfs_in_cache = wanted.git, wanted.git_filter, wanted.lfs_in_cache
    hub.xet.served = not wanted.no_xet
    commits = {repo: str(hub.add(repo, folder)) for repo, folder in zip(wanted.repo, wanted.folder, strict=True)}
    for repository in hub.repositories.values():
        repository.private, repository.gated = wanted.private, "manual" if wanted.gated else False
    for text in wanted.fault:
        _add_fault(hub, text)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    with hub:
        print(json.dumps({"endpoint": hub.endpoint, "cdn": hub.cdn, "commits": commits}), flush=True)
        done.wait()


if __name__ == "__main__":
    main()
