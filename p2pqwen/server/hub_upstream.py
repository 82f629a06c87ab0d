"""Requests for what is not here, passed on to the Hub; its answers are returned unchanged, except for Xet fields.

Bytes that pass through are the Hub's and are not verified here. A client's own token goes only to the Hub's host, with
its request; this home's token is not used for clients. While the Hub does not answer, it is not asked, so that clients
get "not found" at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from p2pqwen.errors import FormatError, P2pqwenError
from p2pqwen.hub_api.problem import HubProblem
from p2pqwen.hub_api.request import Asked
from p2pqwen.net.web_session import WebSession
from p2pqwen.server.hub_access import carries
from p2pqwen.server.hub_catalogue import HubRefusedError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.named_hosts import Guard
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

CONNECT_SECONDS = 3.0
READ_SECONDS = 60.0
AWAY_SECONDS = 30.0
MAX_ANSWER = 64 << 20
HOP = "X-P2pqwen-Hop"
"""Marks a request that was passed on, so that an endpoint whose Hub is itself does not loop."""
_SENT = ("Range", "If-Range", "If-None-Match", "Accept", "User-Agent", "Content-Type")
_RETURNED = frozenset({
    "content-type", "content-range", "accept-ranges", "etag", "last-modified", "x-repo-commit", "x-linked-etag",
    "x-linked-size", "x-error-code", "x-error-message", "ratelimit", "ratelimit-policy", "retry-after",
    "content-disposition", "www-authenticate",
})  # fmt: skip
_FILES = frozenset({"resolve", "raw", "resolve-cache"})
_CHUNK = 1 << 20


@dataclass(slots=True)
class HubUpstream:
    """The Hub at `base`. `own_token`: the endpoint's, not the Hub's; `passed` gets the snapshots of files passed on."""

    base: str
    guard: Guard
    own_token: str | None = None
    passed: Callable[[SnapshotId], None] = lambda _: None
    _session: WebSession | None = None
    _away_until: float = field(default=0.0)

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(
        self, request: web.Request, asked: Asked, otherwise: HubProblem, own_url: str
    ) -> web.StreamResponse:
        """Send the same request to the Hub, and return its answer.

        Raises `HubRefusedError` with `otherwise` if the Hub does not answer.
        """
        if time.monotonic() < self._away_until or HOP in request.headers:
            raise HubRefusedError(otherwise)
        try:
            answer = await self._ask(request)
        except (P2pqwenError, aiohttp.ClientError, OSError, ValueError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise HubRefusedError(otherwise) from error
        async with answer:
            headers = self._headers(answer, own_url)
            self._tell(asked, answer)
            if asked.kind in _FILES:
                return await _stream(request, answer, headers)
            return await _document(answer, headers)

    async def _ask(self, request: web.Request) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = WebSession(self.guard, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        given = request.headers.get("Authorization")
        if given is not None and not (self.own_token and carries(given, self.own_token)):
            headers["Authorization"] = given
        headers[HOP] = "1"
        url = URL(f"{self.base}{request.rel_url.raw_path_qs}", encoded=True)
        body = await request.read() if request.method == "POST" else None
        return await self._session.ask(request.method, url, headers=headers, body=body)

    def _headers(self, answer: aiohttp.ClientResponse, own_url: str) -> dict[str, str]:
        headers = {name: value for name, value in answer.headers.items() if name.lower() in _RETURNED}
        if (location := answer.headers.get("Location")) is not None:
            headers["Location"] = self._led_here(location, own_url)
        links = [one for one in answer.headers.getall("Link", []) if 'rel="next"' in one]
        if links:
            headers["Link"] = links[0].replace(f"<{self.base}/", f"<{own_url}/")
        return headers

    def _led_here(self, location: str, own_url: str) -> str:
        return own_url + location.removeprefix(self.base) if location.startswith(f"{self.base}/") else location

    def _tell(self, asked: Asked, answer: aiohttp.ClientResponse) -> None:
        if asked.kind not in _FILES or answer.status >= 400:
            return
        with suppress(FormatError):
            commit = CommitId.parse(answer.headers.get("X-Repo-Commit", ""))
            self.passed(SnapshotId(RepoId(asked.repo, asked.repo_kind), commit))


async def _stream(
    request: web.Request, answer: aiohttp.ClientResponse, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    length = answer.headers.get("Content-Length")
    if length is not None and length.isdigit():
        response.content_length = int(length)
    with suppress(ConnectionError):
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError):  # no client takes a body that is too short for the file
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
    return response


async def _document(answer: aiohttp.ClientResponse, headers: Mapping[str, str]) -> web.Response:
    body = bytearray()
    try:
        async for part in answer.content.iter_any():
            body += part
            if len(body) > MAX_ANSWER:
                raise HubRefusedError(HubProblem(502, None, "the Hub's answer is too large to be passed on"))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise HubRefusedError(HubProblem(504, None, "the Hub's answer broke off")) from error
    if "json" in answer.headers.get("Content-Type", ""):
        with suppress(ValueError, RecursionError):
            body = bytearray(json.dumps(_without_xet(json.loads(body))).encode())
    return web.Response(status=answer.status, headers=headers, body=bytes(body))


def _without_xet(value: object) -> object:
    """Return a JSON value without Xet fields, with which hf_xet would bypass this endpoint."""
    if isinstance(value, list):
        return [_without_xet(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_xet(one) for name, one in value.items() if not str(name).lower().startswith("xet")}
    return value
