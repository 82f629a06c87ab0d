"""Coroutines for code that is not asynchronous: one at a time, or on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
_STOP_SECONDS = 10.0


def run_now(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine and return its result, as `asyncio.run` does, even if a loop is already running.

    A notebook calls everything from within its loop. There the work runs on a loop in another thread while this one
    waits; whatever interrupts the wait cancels the work.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _Aside(work).result()


class _Aside(Generic[Result]):
    """One coroutine in a thread of its own."""

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self._work = work
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()
        self._done: Future[Result] = Future()

    def result(self) -> Result:
        threading.Thread(target=self._run, name="coroutine", daemon=True).start()
        try:
            return self._done.result()
        except BaseException:
            self._begun.add_done_callback(_cancel)  # at once, if it has begun
            raise

    def _run(self) -> None:
        try:
            self._done.set_result(asyncio.run(self._main()))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._done.set_exception(error)

    async def _main(self) -> Result:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        self._begun.set_result((asyncio.get_running_loop(), task))
        return await self._work


def _cancel(begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]]) -> None:
    loop, task = begun.result()
    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(task.cancel)


class LoopThread:
    """Runs coroutines for other threads between `start` and `stop`."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Result], seconds: float | None = None) -> Result:
        """Run a coroutine on the loop and wait for its result; do not call it from that loop.

        Cancels the coroutine and raises `TimeoutError` after `seconds`.
        """
        running = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return running.result(seconds)
        except TimeoutError:
            running.cancel()
            raise

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """End the loop and its thread, waiting at most `seconds`; may be called even if it was never started."""
        if self._thread.ident is None:
            self.loop.close()
        else:
            with contextlib.suppress(RuntimeError):  # it has ended
                self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
