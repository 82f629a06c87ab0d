"""Values derived from sources repeatedly, and recomputed only for sources that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import is_
from typing import Generic, TypeVar

Source = TypeVar("Source")
Value = TypeVar("Value")


class Derived(Generic[Source, Value]):
    """Keeps the value made from each source in the last look. Values must not be modified.

    Sources mostly keep their order from look to look, so each is compared with the source that had its position. It is
    unchanged if it is the same object, or `==`.
    """

    def __init__(self) -> None:
        self._last: tuple[Sequence[object], list[tuple[Source, Value]], tuple[Value, ...]] = (), [], ()

    def look(
        self, sources: Iterable[Source], make: Callable[[Source], Value], *, besides: Sequence[object] = ()
    ) -> tuple[Value, ...]:
        """Return the value that `make` makes from each source, in order: the same object for an unchanged source.

        `besides`: what else `make` reads; if one of these is another object, every source counts as changed. A new
        value that equals the old one is replaced by the old object. If nothing changed, the tuple is the same object.
        Callable from any thread.
        """
        last_besides, last, values = self._last
        same = _same(besides, last_besides)

        def look(source: Source, before: tuple[Source, Value] | None) -> tuple[Source, Value]:
            if before is not None and same and before[0] == source:
                return before
            value = make(source)
            return source, before[1] if before is not None and before[1] == value else value

        kept = [
            before if before is not None and same and before[0] is source else look(source, before)
            for source, before in zip(sources, chain(last, repeat(None)), strict=False)
        ]
        if len(kept) != len(last) or any(one[1] is not other[1] for one, other in zip(kept, last, strict=True)):
            values = tuple(value for _, value in kept)
        self._last = besides, kept, values
        return values


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Tell whether two sequences have the same objects."""
    return len(some) == len(others) and all(map(is_, some, others))
