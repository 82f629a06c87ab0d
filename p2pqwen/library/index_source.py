"""An index file that is about to be judged: bytes that came, or a file on the disk, read as often as it is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from p2pqwen.index.document import MAX_INDEX_SIZE, read_by_pieces
from p2pqwen.library import durable
from p2pqwen.values.digest import Sha256

IndexSource: TypeAlias = "bytes | FileSource"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file. Somebody else may change it between two readings: what was judged is known by its SHA-256."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes now; raises `DiskError`."""
        with durable.disk_errors(f"look at {self.path}"):
            return self.path.stat().st_size


def pieces_of(source: IndexSource) -> Iterator[bytes]:
    """Yield the bytes; raises `NotFoundError`, `DiskError`."""
    return read_by_pieces(source) if isinstance(source, bytes) else durable.read_pieces(source.path)


def size_of(source: IndexSource) -> int:
    """Return how many bytes there are; raises `DiskError`."""
    return len(source) if isinstance(source, bytes) else source.size


def digest_of(source: IndexSource) -> Sha256:
    """Return the SHA-256 of the bytes; raises `NotFoundError`, `DiskError`."""
    hasher = hashlib.sha256()
    for piece in pieces_of(source):
        hasher.update(piece)
    return Sha256(hasher.digest())


def bytes_of(source: IndexSource) -> bytes:
    """Return the bytes in one piece; raises `NotFoundError`, `FormatError` (too large), `DiskError`."""
    return source if isinstance(source, bytes) else durable.read(source.path, max_bytes=MAX_INDEX_SIZE)
