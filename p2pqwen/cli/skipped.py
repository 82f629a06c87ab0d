"""The entries of an index that this version cannot read, in words and in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pqwen.index.document import IndexDocument

NAMED_SKIPPED = 10
"""How many are named where not all need be."""


def skipped_fields(document: IndexDocument | None) -> list[dict[str, Any]]:
    """Return the JSON of the skipped entries."""
    return [
        {"repo": one.repo, "commit": one.commit, "repo_type": one.repo_type, "recipe": one.recipe, "reason": one.reason}
        for one in (document.skipped if document is not None else ())
    ]


def skipped_lines(document: IndexDocument | None, most: int | None = NAMED_SKIPPED) -> list[str]:
    """Name the skipped entries, at most `most` of them (None: all), and say how many more there are."""
    skipped = document.skipped if document is not None else ()
    named = skipped[:most]
    lines = [f"skipped    {one}: this version does not know {one.reason}" for one in named]
    if more := len(skipped) - len(named):
        lines.append(f"skipped    {more} more; `p2pqwen index show FILE` names all of them")
    return lines
