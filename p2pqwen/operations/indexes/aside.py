"""Blocking work beside an event loop, on threads that nobody has to wait for: neither the loop nor the program's end.

`asyncio.to_thread` will not do where time is short: the end of the loop waits for every thread of its pool.
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
"""How long work that was called off may take to end by itself."""

Parameters = ParamSpec("Parameters")

Result = TypeVar("Result")


class Sessions:
    """Turns for work that takes much: a turn needs a place in each of the semaphores, the narrowest first."""

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
    """Return what `call` returns, or raise what it raises.

    When this is cancelled, `stop` is called, which should make the work end soon; it is waited for `leave` seconds and
    then left to itself.
    """
    future = asyncio.wrap_future(_start(call))
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({future}, timeout=leave)
        if not future.cancel():
            future.exception()  # read, or asyncio complains of it
        raise
    return future.result()


class LooseExecutor(ThreadPoolExecutor):
    """A loop's default executor whose threads nobody waits for: a name server that is dead would hold up the end.

    It has a thread for each call; the callers see to it that those are few.
    """

    def submit(
        self, fn: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Begin the call at once."""
        return _start(lambda: fn(*args, **kwargs))


def as_ours(error: Exception) -> P2pqwenError:
    """Return what somebody's part of the work failed with as an error of ours, so that it stays that part's alone."""
    return (
        error if isinstance(error, P2pqwenError) else NetworkError("it failed", got=f"{type(error).__name__}: {error}")
    )


def _start(call: Callable[[], Result]) -> Future[Result]:
    future: Future[Result] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, in their thread
            with contextlib.suppress(RuntimeError):  # their loop has ended
                future.set_exception(error)
        else:
            with contextlib.suppress(RuntimeError):
                future.set_result(result)

    future.set_running_or_notify_cancel()  # nobody can cancel what has begun
    threading.Thread(target=run, daemon=True).start()
    return future
