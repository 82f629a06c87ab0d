"""Values made of others, made again only where those have changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Source = TypeVar("Source")
Value = TypeVar("Value")


class Derived(Generic[Key, Source, Value]):
    """Keeps for each key what was made, and of what; keys missing from a look are dropped.

    A source is compared with the one before by `==`: a tuple of unchanged objects costs next to nothing. What `make`
    returns must not be changed by anybody.
    """

    def __init__(self, make: Callable[[Source], Value]) -> None:
        self._make = make
        self._kept: dict[Key, tuple[Source, Value]] = {}

    def look(self, sources: Iterable[tuple[Key, Source]]) -> list[Value]:
        """Return the value of each source, in their order: the same object as before for one that is as before."""
        before, now = self._kept, dict[Key, tuple[Source, Value]]()
        found = []
        for key, source in sources:
            kept = before.get(key)
            if kept is None or kept[0] != source:
                kept = source, self._make(source)
            now[key] = kept
            found.append(kept[1])
        self._kept = now
        return found
