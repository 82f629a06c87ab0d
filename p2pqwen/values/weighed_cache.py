"""What was used last, kept in memory up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """Keeps values up to `max_bytes` together, as `weigh` estimates them; for one thread at a time.

    What was not used for longest goes first. The last `at_least` values stay however heavy they are: who asks for one a
    thousand times has it made once.
    """

    def __init__(self, max_bytes: int, weigh: Callable[[Value], int], *, at_least: int = 1) -> None:
        self._max, self._weigh, self._at_least = max_bytes, weigh, at_least
        self._known: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """What is kept weighs so much."""
        return self._bytes

    def get(self, key: Key) -> Value | None:
        """Return a value, None where there is none or no longer."""
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value in place of the one that had its key."""
        self.drop(key)
        weight = self._weigh(value)
        self._known[key] = value, weight
        self._bytes += weight
        while self._bytes > self._max and len(self._known) > self._at_least:
            self.drop(next(iter(self._known)))

    def drop(self, key: Key) -> None:
        """Keep it no longer."""
        found = self._known.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
