"""Run blocking work beside an event loop, on threads that neither the loop nor the exiting program waits for.

`asyncio.to_thread` does not fit where time is short: when the loop ends, it waits for every thread of its pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

from p2pqwen.errors import NetworkError, P2pqwenError

LEAVE_SECONDS = 5.0
"""How long cancelled work may take to end by itself."""

Parameters = ParamSpec("Parameters")

Result = TypeVar("Result")


class Sessions:
    """Turns for expensive work: a turn takes a place in each of the semaphores, the narrowest first."""

    def __init__(self, *places: asyncio.Semaphore) -> None:
        self._places = tuple(reversed(places))

    async def __aenter__(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for place in self._places:
                await stack.enter_async_context(place)
            stack.pop_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self._places:
            place.release()


async def run_aside(
    call: Callable[[], Result], *, stop: Callable[[], None] = lambda: None, leave: float = LEAVE_SECONDS
) -> Result:
    """Run `call` in its own thread; return what it returns or raise what it raises.

    On cancellation, `stop` is called, which should make the work end soon. The work gets `leave` seconds and is then
    abandoned.
    """
    future = asyncio.wrap_future(_start(call))
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({future}, timeout=leave)
        if not future.cancel():
            future.exception()  # read it, or asyncio logs that it never was
        raise
    return future.result()


class LooseExecutor(ThreadPoolExecutor):
    """A loop's default executor whose threads are never waited for: a dead name server would delay the end.

    Each call gets a thread; callers keep their number small.
    """

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Begin the call at once."""
        return _start(lambda: fn(*args, **kwargs))


def as_ours(error: Exception) -> P2pqwenError:
    """Convert any exception to an error of ours, so that a failure is confined to the source that caused it."""
    return (
        error if isinstance(error, P2pqwenError) else NetworkError("it failed", got=f"{type(error).__name__}: {error}")
    )


def _start(call: Callable[[], Result]) -> Future[Result]:
    future: Future[Result] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - the caller gets it, in its own thread
            with contextlib.suppress(RuntimeError):  # their loop has ended
                future.set_exception(error)
        else:
            with contextlib.suppress(RuntimeError):
                future.set_result(result)

    future.set_running_or_notify_cancel()  # a started call cannot be cancelled
    threading.Thread(target=run, daemon=True).start()
    return future
