"""An index file that a user named: the file itself or the folder it is in."""

from __future__ import annotations

from pathlib import Path

from p2pqwen.index.document import INDEX_FILE, MAX_INDEX_SIZE
from p2pqwen.library.index_source import FileSource, plain_file


def index_file(path: Path) -> FileSource:
    """Return a source that reads it; raises `NotFoundError`, `FormatError` (too large), `DiskError`."""
    return FileSource(plain_file(path / INDEX_FILE if path.is_dir() else path, MAX_INDEX_SIZE))
