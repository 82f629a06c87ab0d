"""Which requests the control API accepts: those of programs on this machine, never those of web pages.

A page can make a browser send requests to loopback. It cannot choose their `Host` (which reveals DNS rebinding) and
cannot leave out `Origin`. So a foreign Host and every Origin are refused, and a request over loopback needs a token.

The dashboard is the one page that may call it, from this very origin. Its files contain nothing secret and need no
token. Every call needs one, in a header that no other page can send: a form cannot, and a script of another origin must
ask first.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Container, Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from p2pqwen.errors import P2pqwenError
from p2pqwen.server.problem import Problem, Refusal
from p2pqwen.values.json_value import object_json

_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SESSION = "/v1/session"
"""Where the dashboard's page trades a ticket for the token, without a token."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(headers: Mapping[str, str], token: str | None) -> tuple[int, str] | None:
    """Return the status and reason with which a request is refused, None if it is accepted."""
    if (foreign := _foreign_host(headers)) is not None:
        return foreign
    if "Origin" in headers or _of_another_page(headers):
        return 403, "requests from web pages are refused"
    return _without_token(headers, token)


def page_refusal(headers: Mapping[str, str], token: str | None, *, is_file: bool = False) -> tuple[int, str] | None:
    """Return the status and reason with which a dashboard request is refused; `token` is None if none is needed.

    A person may open its files from anywhere, such as the page on the disk that leads there once.
    """
    if (foreign := _foreign_host(headers)) is not None:
        return foreign
    if is_file and headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document":
        return None
    own = f"http://{headers.get('Host', '')}"
    if headers.get("Origin", own).lower() != own.lower() or _of_another_page(headers):
        return 403, "requests from other web pages are refused"
    return _without_token(headers, token)


def _foreign_host(headers: Mapping[str, str]) -> tuple[int, str] | None:
    host = headers.get("Host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return None if name.lower() in _HOSTS else (403, f"requests for host {host[:80]!r} are refused")


def _of_another_page(headers: Mapping[str, str]) -> bool:
    return headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}


def _without_token(headers: Mapping[str, str], token: str | None) -> tuple[int, str] | None:
    if token is not None:
        given = headers.get("Authorization", "").removeprefix("Bearer ")
        # aiohttp decodes bytes that are not UTF-8 as lone surrogates.
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
            return 401, "the token is missing or wrong"
    return None


def _problem(status: int, reason: str, headers: Mapping[str, str] | None = None) -> web.Response:
    shown = object_json(Refusal(Problem.of(P2pqwenError(reason))))
    return web.json_response(shown, status=status, headers=headers)


def middleware(token: str | None) -> Middleware:
    """Return a middleware that applies `refusal`."""
    return _guarded(lambda request: refusal(request.headers, token))


def page_middleware(token: str, files: Container[str]) -> Middleware:
    """Return a middleware that applies `page_refusal`; `files` are the paths of the page itself."""

    def judge(request: web.Request) -> tuple[int, str] | None:
        is_file = request.path in files
        wanted = None if is_file or request.path == SESSION else token
        return page_refusal(request.headers, wanted, is_file=is_file)

    return _guarded(judge)


def _guarded(judge: Callable[[web.Request], tuple[int, str] | None]) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = judge(request)
        if refused is not None:
            status, reason = refused
            return _problem(status, reason)
        try:
            return await handler(request)
        except web.HTTPException as error:  # unknown path, wrong method, too large
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _problem(error.status, f"{request.method} {request.path[:200]}: {error.reason}", allow)

    return guarded
