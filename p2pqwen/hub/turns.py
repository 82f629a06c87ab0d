"""A limit on how many threads do something at once; it may change while they wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.5  # seconds


class Turns:
    """Admits threads to a block, up to a total weight of `most()`.

    A thread that is alone is admitted whatever its weight. `tick` is called while a thread waits, and may raise.
    """

    def __init__(self, most: Callable[[], int], tick: Callable[[], None]) -> None:
        self._most, self._tick = most, tick
        self._freed = threading.Condition()
        self._inside = 0

    @contextmanager
    def one(self, counts_for: int = 1) -> Iterator[None]:
        """Wait for a turn, and give it back at the end of the block."""
        while not self._enter(counts_for):
            self._tick()
        try:
            yield
        finally:
            with self._freed:
                self._inside -= counts_for
                self._freed.notify_all()

    def _enter(self, counts_for: int) -> bool:
        with self._freed:
            if self._is_full(counts_for):
                self._freed.wait(_LOOK_EVERY)
            if self._is_full(counts_for):
                return False
            self._inside += counts_for
            return True

    def _is_full(self, counts_for: int) -> bool:
        return self._inside > 0 and self._inside + counts_for > self._most()
