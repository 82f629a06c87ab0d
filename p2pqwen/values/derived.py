"""Values made of others, look after look, and made again only where those have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import is_
from typing import Generic, TypeVar

Source = TypeVar("Source")
Value = TypeVar("Value")


class Derived(Generic[Source, Value]):
    """Keeps what was made of each source in the last look. What was made must not be changed by anybody.

    Sources mostly come in the order of the look before: one is compared with the one that had its place, and nothing
    is looked up by name. A source is as before where it is the same object, or `==`.
    """

    def __init__(self) -> None:
        self._last: tuple[Sequence[object], list[tuple[Source, Value]], tuple[Value, ...]] = (), [], ()

    def look(
        self, sources: Iterable[Source], make: Callable[[Source], Value], *, besides: Sequence[object] = ()
    ) -> tuple[Value, ...]:
        """Return what `make` makes of each source, in their order: the same object for one that is as before.

        `besides`: what else `make` reads; every source counts as changed where one of these is another object. What is
        made again and equals what was there is that object still. Where nothing changed, so is the tuple. From any
        thread.
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
    """Tell whether two rows of objects are of the same objects."""
    return len(some) == len(others) and all(map(is_, some, others))
