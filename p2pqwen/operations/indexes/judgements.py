"""What is judged for one update, in threads that nobody can stop, and what came of it.

A database is made with every judgement. It goes when the update ends, or as soon as it comes after that: on a busy
machine a judgement may take longer than anybody waits.
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
    """The judgements of one update; for several threads."""

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
        """Judge here and now; raises what `judge` does."""
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
        let_go(accepted)  # nobody waits for it any more
        return accepted

    async def delta(self, judge: Callable[[], Accepted]) -> Accepted | None:
        """Judge what a delta makes, one at a time; None where nothing comes of it, for it was a hint."""
        try:
            async with self._one_delta:
                return await run_aside(lambda: self.run(judge), leave=0)
        except P2pqwenError:
            return None

    def close(self) -> None:
        """Drop what nothing came of."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, []
        for accepted in made:
            let_go(accepted)
