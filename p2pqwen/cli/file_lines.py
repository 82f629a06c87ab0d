"""The files of a snapshot as lines, and the flag that shows them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from p2pqwen.operations.verify.file_answer import FileAnswer

FilesFlag = Annotated[bool, typer.Option("--files", help="Show the files, with size, format and quantisation.")]


def file_lines(files: Sequence[FileAnswer] | None, away: Collection[str] = ()) -> list[str]:
    """Return a line for each file, or why there is none; `away` are those that are not held."""
    from p2pqwen.values.byte_size import format_size

    if files is None:
        return ["  files are not known: no torrent of it is here or on a mirror"]
    sizes = [format_size(one.size) for one in files]
    width = max(map(len, sizes), default=0)
    lines = []
    for one, size in zip(files, sizes, strict=True):
        words = (one.format, one.quantisation, "not held" if one.path in away else None)
        said = ", ".join(word for word in words if word)
        lines.append(f"  {size:>{width}}  {one.path}" + (f"  ({said})" if said else ""))
    return lines
