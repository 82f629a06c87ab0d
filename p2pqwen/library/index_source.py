"""An index file that is about to be judged: bytes that came, or a file on the disk, read as often as it is needed."""

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
    """A file. Somebody else may change it between two readings: what was judged is known by its SHA-256.

    `is_ours`: nobody does, for it is a spool's.
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
"""What a link of a spool is named after: its time is that of the file it stands for."""
_LEFT_SECONDS = 86_400.0
_IN_MEMORY = 1 << 20
_PIECE = 1 << 18


def remove_left(folder: Path) -> None:
    """Delete what spools of programs that were killed left in a folder, a day later."""
    long_ago = time.time() - _LEFT_SECONDS
    for pattern in (".index.*.tmp", f".{LINKED}.*.tmp"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                state = path.stat()
                # A link has the time of what it leads to, but for that of its own making.
                if (state.st_ctime if LINKED in path.name else state.st_mtime) < long_ago:
                    path.unlink()


class Spool:
    """Takes what comes from the network: in memory while it is little, then in a file that `close` deletes."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where a file is made, once there has to be one."""
        self._folder = folder
        self._body = bytearray()
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._more = threading.Condition()
        self._taken = 0
        self.expected: int | None = None
        """Bytes that are to come in all, as far as somebody said so; known at the end."""
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
        """Bytes that came."""
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
        """Take all of a file, by a hard link where the disk has them; raises `NotFoundError`, `DiskError`."""
        with durable.disk_errors(f"keep {path}"):
            link = durable.temporary_beside(self._folder / LINKED)
            try:
                link.hardlink_to(path)
            except FileNotFoundError as error:
                raise NotFoundError(f"no file {path}") from error
            except OSError:
                link.unlink(missing_ok=True)  # no such links here: a copy will do
            else:
                self._file, self._path = link.open("rb", buffering=0), link
                return
        for piece in durable.read_pieces(path):
            self.take(piece)

    def end(self, error: P2pqwenError | None = None) -> None:
        """Say that nothing more comes, and why, where it was to be more."""
        with self._more:
            self._ended, self._error, self.expected = True, error, self._taken
            self._more.notify_all()

    def following(self) -> Iterator[bytes]:
        """Yield what comes, on another thread than gives it, while it comes.

        Raises what `end` was given, and `DiskError`.
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
        """Return what came, to be read until `close`."""
        if self._file is None or self._path is None:
            return bytes(self._body)
        return FileSource(self._path, is_ours=True)

    def close(self) -> None:
        """Drop it."""
        if self._file is not None and self._path is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:  # a file without a buffer may take less than it is given
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
