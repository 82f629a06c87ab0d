"""Rows as columns where they fit the terminal, and one below the other where they do not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def columns() -> int | None:
    """Return the width of the terminal, None where stdout is none: then lines are as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, title: int = 0) -> list[str]:
    """Return a table of at most `width` columns; in a narrower terminal each row is headed by its cell `title`."""
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    if width is None or sum(widths) + 2 * (len(widths) - 1) <= width:
        return [
            "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
            for row in (heads, *rows)
        ]
    lines = []
    for row in rows:
        lines.append(row[title])
        cells = zip(heads, row, strict=True)
        lines.append("  " + ", ".join(f"{head} {cell}" for index, (head, cell) in enumerate(cells) if index != title))
    return lines
