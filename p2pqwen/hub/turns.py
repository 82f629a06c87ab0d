"""How many do the same thing at once: a number that may change while they wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.5  # seconds


class Turns:
    """Lets up to `most()` of those who ask into the block. `tick` is called while one waits, and may raise."""

    def __init__(self, most: Callable[[], int], tick: Callable[[], None]) -> None:
        self._most, self._tick = most, tick
        self._freed = threading.Condition()
        self._inside = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a turn, and give it back at the end of the block."""
        while not self._enter():
            self._tick()
        try:
            yield
        finally:
            with self._freed:
                self._inside -= 1
                self._freed.notify_all()

    def _enter(self) -> bool:
        with self._freed:
            if self._inside >= self._most():
                self._freed.wait(_LOOK_EVERY)
            if self._inside >= self._most():
                return False
            self._inside += 1
            return True
