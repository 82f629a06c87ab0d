"""The entries of an index that this version cannot read, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pqwen.index.document import IndexDocument

NAMED_SKIPPED = 10
"""How many to name by default."""


def skipped_lines(document: IndexDocument | None, most: int | None = NAMED_SKIPPED) -> list[str]:
    """Name the skipped entries, at most `most` of them (None: all), and say how many more there are."""
    skipped = document.skipped if document is not None else ()
    named = skipped[:most]
    lines = [f"skipped    {one}: this version does not know {one.reason}" for one in named]
    if more := len(skipped) - len(named):
        lines.append(f"skipped    {more} more; `p2pqwen index show FILE` names all of them")
    return lines
