"""Files of the library that are being read: only verified bytes are delivered.

A file that looks as it did when it was verified is trusted, as everywhere in the library. Each piece of any other file
is read and hashed before a byte of it is sent (`PieceFile`), whatever wrote it and whatever a download claims: a hole
that is about to be filled has the wrong hash too.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import DiskError, VerificationError
from p2pqwen.library.verified import Look
from p2pqwen.portable.files import has_data, open_beneath, read_at
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.webseed.piece_check import PieceCheck


def open_file(folder: Path, path: RepoPath, size: int) -> int | None:
    """Return a descriptor of a regular file of this size below a folder, None if there is none.

    Follows no symbolic link in the path, so a link that somebody put into the library leads nowhere.
    """
    try:
        found = open_beneath(folder, path.parts)
    except OSError:
        return None
    state = os.fstat(found)
    if not stat.S_ISREG(state.st_mode) or state.st_size != size:
        os.close(found)
        return None
    return found


def is_as_verified(descriptor: int, look: Look | None) -> bool:
    """Tell whether an open file looks as it did when it was verified."""
    return look is not None and look.same_content(Look.of_stat(os.fstat(descriptor)))


@dataclass(frozen=True, slots=True)
class VerifiedReading:
    """A file that is trusted; a `Reading`."""

    descriptor: int
    size: int

    def ready(self, _at: int) -> int | Future[int]:
        """Return the whole file's size."""
        return self.size

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class OpenFile:
    """A descriptor that is closed with its last reference, such as a reader's or a running check's.

    So its number is never reused while it is being read.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


class PieceFile:
    """One file of a torrent below a folder, and which of its pieces were read and verified.

    `name`: its name there, if it differs. `quick`: check v1 hashes only, because the v2 hashes were already checked
    elsewhere.
    """

    def __init__(
        self, metainfo: Metainfo, index: int, folder: Path, *, name: RepoPath | None = None, quick: bool = False
    ) -> None:
        self._check = PieceCheck(metainfo.parsed_info, None if quick else metainfo.piece_layers)
        self._index, self.folder = index, folder
        entry = metainfo.files[index]
        self.path, self.size = entry.path, entry.size
        self._name = entry.path if name is None else name
        self.right = bytearray(self._check.count(index))
        self._opened: OpenFile | None = None
        self._closed = False

    @property
    def piece_length(self) -> int:
        """Bytes of each piece except the last."""
        return self._check.piece_length

    def opened(self) -> OpenFile:
        """Return the open file; raises `DiskError` if it is missing or has another size."""
        found = self._open()
        if found is None:
            raise DiskError(f"{self.path} is not there, or not as large as it must be")
        return found

    def verified_to(self, at: int) -> int:
        """Return the end of the verified bytes from `at` on; `at` itself if that byte is not verified."""
        piece = at // self.piece_length
        if not self.right[piece]:
            return at
        end = self.right.find(b"\0", piece)
        return self.size if end < 0 else end * self.piece_length

    def look(self, piece: int) -> bool:
        """Read and check a piece, unless it was verified before; tell whether it is right."""
        if self.right[piece]:
            return True
        file = self._open()
        if file is None:
            return False
        span = self._check.span(self._index, piece)
        if not has_data(file.number, span.start, len(span)):
            return False
        data = read_at(file.number, len(span), span.start)
        self.right[piece] = self._check.holds(self._index, piece, memoryview(data))
        return bool(self.right[piece])

    def close(self) -> None:
        """Close the file for good."""
        self._closed, self._opened = True, None

    def _open(self) -> OpenFile | None:
        found = self._opened
        if found is None and not self._closed:
            descriptor = open_file(self.folder, self._name, self.size)
            found = self._opened = None if descriptor is None else OpenFile(descriptor)
        return found


class CheckedReading:
    """A file that has changed since it was verified: each piece is checked when it is read.

    A `Reading`. `run` runs a check on another thread.
    """

    def __init__(self, file: PieceFile, run: Callable[[Callable[[], int]], Future[int]]) -> None:
        self._file, self._run = file, run

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._file.opened().number

    def ready(self, at: int) -> int | Future[int]:
        """Check the piece at `at`; the future raises `VerificationError` if it is damaged."""
        end = self._file.verified_to(at)
        return end if end > at else self._run(lambda: self._checked(at))

    def _checked(self, at: int) -> int:
        if not self._file.look(at // self._file.piece_length):
            raise VerificationError(f"{self._file.path} is damaged", hint="`p2pqwen verify --repair` mends it")
        return self._file.verified_to(at)

    def close(self) -> None:
        """Close it."""
        self._file.close()
