"""The judgements of one update, in threads that cannot be stopped, and their results.

Every judgement makes a database. It is dropped when the update ends, or as soon as it is made if that is later: on a
busy machine a judgement may outlast the update.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from p2pqwen.errors import P2pqwenError
from p2pqwen.index.acceptance import Accepted
from p2pqwen.library.index_rows.judging import let_go
from p2pqwen.operations.indexes.aside import run_aside


class Judgements:
    """The judgements of one update; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[Accepted] = []
        self._running = 0
        self._closed = False
        self._one_delta = asyncio.Lock()  # held while a delta is judged, which takes memory

    @property
    def busy(self) -> bool:
        """Whether something is being judged."""
        with self._lock:
            return self._running > 0

    def run(self, judge: Callable[[], Accepted]) -> Accepted:
        """Judge in this thread; raises what `judge` does."""
        with self._lock:
            self._running += 1
        try:
            accepted = judge()
        finally:
            with self._lock:
                self._running -= 1
        with self._lock:
            if not self._closed:
                self._made.append(accepted)
                return accepted
        let_go(accepted)  # the update has ended
        return accepted

    async def delta(self, judge: Callable[[], Accepted]) -> Accepted | None:
        """Judge the index that a delta makes, one at a time; None if it fails, since a delta is only a hint."""
        try:
            async with self._one_delta:
                return await run_aside(lambda: self.run(judge), leave=0)
        except P2pqwenError:
            return None

    def close(self) -> None:
        """Drop the databases of judged indexes that are not in use."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, []
        for accepted in made:
            let_go(accepted)
