"""A least-recently-used cache bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeighedCache(Generic[Key, Value]):
    """Keeps values up to a total of `max_bytes`, as estimated by `weigh`; for one thread at a time.

    The least recently used value goes first. The last `at_least` values stay at any size, so even a very large one is
    not computed for every use.
    """

    def __init__(self, max_bytes: int, weigh: Callable[[Value], int], *, at_least: int = 1) -> None:
        self._max, self._weigh, self._at_least = max_bytes, weigh, at_least
        self._known: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """The total estimated size of the values."""
        return self._bytes

    def get(self, key: Key) -> Value | None:
        """Return a value, or None."""
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value) -> None:
        """Store a value, replacing any with its key."""
        self.drop(key)
        weight = self._weigh(value)
        self._known[key] = value, weight
        self._bytes += weight
        while self._bytes > self._max and len(self._known) > self._at_least:
            self.drop(next(iter(self._known)))

    def drop(self, key: Key) -> None:
        """Remove a value, if it is there."""
        found = self._known.pop(key, None)
        if found is not None:
            self._bytes -= found[1]
