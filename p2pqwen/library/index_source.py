"""An index file to be judged: bytes received, or a file on disk that can be read more than once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError
from p2pqwen.index.document import MAX_INDEX_SIZE, read_by_pieces
from p2pqwen.library import durable
from p2pqwen.values.digest import Sha256

IndexSource: TypeAlias = "bytes | FileSource"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file. It may change between two reads, so what was judged is identified by its SHA-256.

    `is_ours`: nothing else changes it, since it is a spool's.
    """

    path: Path
    is_ours: bool = False

    @property
    def size(self) -> int:
        """Bytes now; raises `NotFoundError`, `DiskError`."""
        with durable.disk_errors(f"look at {self.path}"):
            try:
                return self.path.stat().st_size
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError(f"no file {self.path}") from error


LINKED = "linked.json"
"""A spool's links are named after this. A link has the modification time of the file that it links to."""
_LEFT_SECONDS = 86_400.0
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


def remove_left(folder: Path) -> None:
    """Delete, after a day, what the spools of killed programs left in a folder."""
    long_ago = time.time() - _LEFT_SECONDS
    for pattern in (".index.*.tmp", f".{LINKED}.*.tmp"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                state = path.stat()
                # A link has the times of its target, except for ctime, which linking sets.
                if (state.st_ctime if LINKED in path.name else state.st_mtime) < long_ago:
                    path.unlink()


class Spool:
    """Takes bytes from the network: in memory while they are few, then in a file that `close` deletes."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the file is made, if one is needed."""
        self._folder = folder
        self._body = bytearray()
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._more = threading.Condition()
        self._taken = 0
        self.expected: int | None = None
        """Bytes to come in all, None while unknown; `end` sets it."""
        self._ended = False
        self._error: P2pqwenError | None = None

    def take(self, piece: bytes) -> None:
        """Add a piece; raises `DiskError`."""
        with self._more, durable.disk_errors(f"write in {self._folder}"):
            if self._file is None and len(self._body) + len(piece) <= _IN_MEMORY:
                self._body += piece
            else:
                _write_all(self._begun(), piece)
            self._taken += len(piece)
            self._more.notify_all()

    @property
    def path(self) -> Path | None:
        """The file, once there is one."""
        return self._path

    @property
    def taken(self) -> int:
        """Bytes received."""
        return self._taken

    def _begun(self) -> BinaryIO:
        if self._file is None:
            path = durable.temporary_beside(self._folder / "index.json")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, durable.PRIVATE)
            self._file, self._path = os.fdopen(descriptor, "wb", buffering=0), path
            _write_all(self._file, self._body)
            self._body = bytearray()
        return self._file

    def link(self, path: Path) -> None:
        """Take a whole file, by a hard link if the disk allows one; raises `NotFoundError`, `DiskError`."""
        with durable.disk_errors(f"keep {path}"):
            link = durable.temporary_beside(self._folder / LINKED)
            try:
                link.hardlink_to(path)
            except FileNotFoundError as error:
                raise NotFoundError(f"no file {path}") from error
            except OSError:
                link.unlink(missing_ok=True)  # no hard links here: copy instead
            else:
                self._file, self._path = link.open("rb", buffering=0), link
                return
        for piece in durable.read_pieces(path):
            self.take(piece)

    def end(self, error: P2pqwenError | None = None) -> None:
        """Say that no more comes, and give the error if it ended early."""
        with self._more:
            self._ended, self._error, self.expected = True, error, self._taken
            self._more.notify_all()

    def following(self) -> Iterator[bytes]:
        """Yield what is taken, while it comes, on another thread than the one that takes it.

        Raises the error given to `end`, and `DiskError`.
        """
        at = 0
        while True:
            with self._more:
                while not self._ended and self._taken <= at:
                    self._more.wait()
                error = self._error
            if error is not None:
                raise error
            piece = self._piece(at)
            if not piece:
                return
            at += len(piece)
            yield piece

    def _piece(self, at: int) -> bytes:
        with self._more:
            if self._path is None:
                return bytes(self._body[at : at + _PIECE])
            size = min(_PIECE, self._taken - at)
        with durable.disk_errors(f"read {self._path}"), self._path.open("rb") as file:
            file.seek(at)
            return file.read(size)

    def source(self) -> IndexSource:
        """Return what was taken; it can be read until `close`."""
        if self._file is None or self._path is None:
            return bytes(self._body)
        return FileSource(self._path, is_ours=True)

    def close(self) -> None:
        """Delete what was taken."""
        if self._file is not None and self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:  # an unbuffered file may write less than it is given
        left = left[file.write(left) :]


def plain_file(path: Path, max_bytes: int) -> Path:
    """Return the path of a file that can be read piece by piece; raises `NotFoundError`, `FormatError`, `DiskError`."""
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise NotFoundError(f"no file or folder {path}") from error
    except OSError as error:
        raise DiskError(f"cannot read {path}", got=error.strerror or str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise DiskError(f"{path} is not a plain file")
    if found.st_size > max_bytes:
        raise FormatError(f"file {path} is too large", expected=f"at most {max_bytes} bytes")
    return path


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
