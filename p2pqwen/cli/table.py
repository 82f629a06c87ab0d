"""Rows as a table if it fits the terminal, and as lists otherwise."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO


def columns(stream: TextIO | None = None) -> int | None:
    """Return the width of the terminal behind a stream, stdout by default.

    None if there is no terminal; lines are then not wrapped.
    """
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        return None
    if os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):  # a terminal without a size, or no real file
        return shutil.get_terminal_size().columns


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, title: int = 0) -> list[str]:
    """Return a table of at most `width` columns; in a narrower terminal, each row is listed under its cell `title`."""
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
