"""An event loop in a thread of its own, for servers beside code that is not asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_STOP_SECONDS = 10.0


class LoopThread:
    """Runs coroutines for other threads between `start` and `stop`."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Result], seconds: float | None = None) -> Result:
        """Run a coroutine on the loop and wait for its result; not from that loop.

        Raises `TimeoutError` when it takes more than `seconds`, and cancels it then.
        """
        running = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return running.result(seconds)
        except TimeoutError:
            running.cancel()
            raise

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """End the loop and its thread, and wait for that, but no longer than this; also where it was never started."""
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
