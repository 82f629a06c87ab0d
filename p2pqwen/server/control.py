"""The control API: JSON over HTTP/1.1, version 1, every path below /v1/.

A call gets one JSON object (path, query and body joined, each name once). It returns a typed answer, or an iterator of
answers, which are sent as lines while they come (application/x-ndjson). Calls run on threads; `server.problem` turns
what they raise into JSON. A body is parsed as strictly as a document, except that floats are allowed; an invalid one
gets a 400.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from aiohttp import web

from p2pqwen.errors import FormatError, P2pqwenError, UsageError
from p2pqwen.events import Happened, Report, ignore
from p2pqwen.loop_thread import LoopThread
from p2pqwen.net.fault_log import fault_log
from p2pqwen.portable.sockets import take_port_again, unix_sockets_work
from p2pqwen.server import address, guard
from p2pqwen.server.page import PAGE_HEADERS, Text, page_files
from p2pqwen.server.problem import Problem, Refusal, status_of
from p2pqwen.server.tickets import Tickets
from p2pqwen.values.json_value import Answer, object_json
from p2pqwen.values.strict_json import JsonObject, parse_call

MAX_REQUEST = 1 << 20
_STOP_SECONDS = 3.0
_WORKERS = 16  # a stream occupies one while it lasts

Given: TypeAlias = JsonObject
Call: TypeAlias = Callable[[Given], Answer | Iterator[Answer]]
"""Takes the arguments of a call, and returns its answer or the lines of it."""


TICKET = "POST /v1/dashboard/ticket"
"""Called by `p2pqwen dashboard`, never by a page."""


@dataclass(frozen=True, slots=True)
class TicketAnswer:
    """A ticket that lets one browser into the dashboard, within a minute."""

    ticket: str


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """The token for the page's calls."""

    token: str


class ControlServer:
    """Serves calls while the block lasts, on a thread of its own. `calls` maps routes such as `GET /v1/status`.

    `texts` maps paths such as `/metrics` to functions that return the answer. `metrics_on`: also serve only the texts
    at this loopback address, for a Prometheus that cannot read a unix socket. `dashboard_on`: serve the dashboard
    there, which is a page and the calls.
    """

    def __init__(
        self,
        home: Path,
        calls: Mapping[str, Call],
        texts: Mapping[str, Callable[[], Text]],
        *,
        metrics_on: tuple[str, int] | None = None,
        dashboard_on: tuple[str, int] | None = None,
        force_loopback: bool = False,
        report: Report = ignore,
    ) -> None:
        self._home, self._calls, self._texts = home, calls, texts
        self._metrics_on, self._dashboard_on, self._report = metrics_on, dashboard_on, report
        self._loopback = force_loopback or not unix_sockets_work()
        self._pool = ThreadPoolExecutor(_WORKERS, "control")
        self._thread = LoopThread("control")
        self._loop = self._thread.loop
        self._runners: list[web.AppRunner] = []
        self._tickets = Tickets()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            if self._dashboard_on is not None:  # anyone who may call this has the home, so needs no token of the page
                self._calls = {**self._calls, TICKET: lambda _: TicketAnswer(self._tickets.issue())}
            listener = None if self._loopback else address.bind_unix(self._home)
            if listener is None:
                listener, found = address.bind_loopback(self._home)
                self._serve(listener, token=found.token, calls=True)
            else:
                self._serve(listener, token=None, calls=True)
            if self._metrics_on is not None:
                listener = _listen(*self._metrics_on)
                host, port = listener.getsockname()[:2]
                self._serve(listener, token=None, calls=False)
                self._report(Happened("metrics", {"host": host, "port": port}))
            if self._dashboard_on is not None:
                self._serve_dashboard(_listen(*self._dashboard_on))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        address.clean(self._home)

    def _serve(self, listener: socket.socket, *, token: str | None, calls: bool) -> None:
        self._thread.call(self._start(listener, token, calls=calls))

    def _serve_dashboard(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        token = address.write_dashboard(self._home, host, port)
        self._thread.call(self._start_dashboard(listener, token))
        self._report(Happened("dashboard", {"host": host, "port": port}))

    async def _start_dashboard(self, listener: socket.socket, token: str) -> None:
        files = page_files()
        app = web.Application(middlewares=[guard.page_middleware(token, files)], client_max_size=MAX_REQUEST)
        app.on_response_prepare.append(_page_headers)
        app.router.add_post(guard.SESSION, self._call_handler(partial(self._session, token)))
        for path, text in files.items():
            app.router.add_get(path, self._text_handler(partial(_given_text, text)))
        await self._run(app, listener)

    def _session(self, token: str, given: Given) -> SessionAnswer:
        """Return the token in exchange for a ticket; raises `UsageError`."""
        if not self._tickets.redeem(str(given.get("ticket", ""))):
            raise UsageError("this link was used before, or is too old", hint="run `p2pqwen dashboard` again")
        return SessionAnswer(token)

    async def _start(self, listener: socket.socket, token: str | None, *, calls: bool) -> None:
        app = web.Application(middlewares=[guard.middleware(token)], client_max_size=MAX_REQUEST)
        for path, text in self._texts.items():
            app.router.add_get(path, self._text_handler(text))
        await self._run(app, listener, calls=calls)

    async def _run(self, app: web.Application, listener: socket.socket, *, calls: bool = True) -> None:
        for route, call in self._calls.items() if calls else ():
            method, _, path = route.partition(" ")
            app.router.add_route(method, path, self._call_handler(call))
        runner = web.AppRunner(app, access_log=None, logger=fault_log(), shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.SockSite(runner, listener).start()

    def _text_handler(self, text: Callable[[], Text]) -> guard.Handler:
        async def answer(_request: web.Request) -> web.StreamResponse:
            try:
                found = await self._loop.run_in_executor(self._pool, text)
            except Exception as error:  # noqa: BLE001 - the same fields as every other refusal
                return _refusal(error)
            return web.Response(body=found.body, headers={"Content-Type": found.content_type})

        return answer

    def _call_handler(self, call: Call) -> guard.Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                given = await _arguments(request)
                found = await self._loop.run_in_executor(self._pool, _carry_out, call, given)
            except web.HTTPException:  # too large: the guard answers
                raise
            except Exception as error:  # noqa: BLE001 - our own fault gets the same fields as a refusal
                return _refusal(error)
            if isinstance(found, dict):
                return web.json_response(found)
            return await self._stream(request, found)

        return answer

    async def _stream(self, request: web.Request, lines: Iterator[Answer]) -> web.StreamResponse:
        as_events = "text/event-stream" in request.headers.get("Accept", "")
        kind, line_of = ("text/event-stream", _event) if as_events else ("application/x-ndjson", _line)
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        try:
            while (line := await self._loop.run_in_executor(self._pool, next, lines, None)) is not None:
                await response.write(line_of(line))
            await response.write_eof()
        except ConnectionError:
            return response  # the reader has gone
        except Exception as error:  # noqa: BLE001 - the answer has begun: its last line reports the error
            _, shown = _problem_of(error)
            await response.write(line_of(shown))
        finally:
            close = getattr(lines, "close", None)
            if close is not None:
                await self._loop.run_in_executor(self._pool, _close_quietly, close)
        return response

    def _close(self) -> None:
        for runner in self._runners:
            with contextlib.suppress(TimeoutError):
                self._thread.call(runner.cleanup(), _STOP_SECONDS)
        self._thread.stop(_STOP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)


def _carry_out(call: Call, given: Given) -> JsonObject | Iterator[Answer]:
    found = call(given)
    return found if isinstance(found, Iterator) else object_json(found)


def _line(answer: Answer) -> bytes:
    return json.dumps(object_json(answer)).encode() + b"\n"


def _event(answer: Answer) -> bytes:
    """Return an answer as a server-sent event."""
    return b"data: " + _line(answer) + b"\n"


def _given_text(text: Text) -> Text:
    return text


async def _page_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(PAGE_HEADERS)


async def _arguments(request: web.Request) -> Given:
    """Join path, query and body; raises `UsageError`."""
    try:
        body = await request.read()
    except web.RequestPayloadError as error:  # it claims to be compressed, and is not
        raise UsageError("the request's body is not a valid call", got=str(error)[:200]) from error
    try:
        value = parse_call(body, max_bytes=MAX_REQUEST) if body else {}
    except FormatError as error:
        raise UsageError.of(error, before="the request is not a valid call: ") from error
    given: Given = {}
    for name, one in (*request.match_info.items(), *request.query.items(), *value.items()):
        if name in given:
            raise UsageError(f"the request has {name[:40]!r} twice")
        given[name] = one
    return given


def _refusal(error: Exception) -> web.Response:
    status, shown = _problem_of(error)
    return web.json_response(object_json(shown), status=status)


def _problem_of(error: Exception) -> tuple[int, Refusal]:
    if isinstance(error, P2pqwenError):
        return status_of(error), Refusal(Problem.of(error))
    fault = P2pqwenError(f"the call broke: {type(error).__name__}", got=str(error)[:200])
    return 500, Refusal(Problem.of(fault))


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    take_port_again(listener)
    try:
        listener.bind((host, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise P2pqwenError(f"cannot listen on {host}:{port}", got=error.strerror or str(error)) from error
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return listener


def _close_quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except ValueError:  # "generator already executing": it is being read, and ends by itself
        return
