"""Read an index file that a user named: the file itself or the folder it is in."""

from __future__ import annotations

from pathlib import Path

from p2pqwen.index.document import INDEX_FILE, MAX_INDEX_SIZE
from p2pqwen.library import durable


def read_index_file(path: Path) -> bytes:
    """Return its bytes; raises `NotFoundError`, `FormatError` (too large), `DiskError`."""
    return durable.read(path / INDEX_FILE if path.is_dir() else path, max_bytes=MAX_INDEX_SIZE)
