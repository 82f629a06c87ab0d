"""Files of the library that are being read: nothing is handed on that was not verified.

A file that looks as it did when it was verified is believed, as everywhere in the library. Of any other each piece is
read and hashed before a byte of it goes out (`PieceReading`), whoever wrote it and whatever a download says of it: a
hole that will be filled in a moment has the wrong hash, too.
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
    """Return a descriptor of a regular file of this size below a folder, None where there is none.

    No link on the way is followed, so that one put into the library by somebody else leads nowhere.
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
    """A file that is believed; a `Reading`."""

    descriptor: int
    size: int

    def ready(self, _at: int) -> int | Future[int]:
        """Return the whole file's size."""
        return self.size

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class OpenFile:
    """A descriptor that is closed once nobody holds on to it: a check that still runs, or a reader, keeps it.

    So its number is never another file's while somebody reads by it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


class PieceFile:
    """One file of a torrent below a folder, and which of its pieces have been read and found right.

    `name`: it is there under another name. `quick`: by their v1 hashes, where something else has checked their v2
    hashes before.
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
        """Bytes of a piece but the last."""
        return self._check.piece_length

    def opened(self) -> OpenFile:
        """Return the open file; raises `DiskError` where it is not there."""
        found = self._open()
        if found is None:
            raise DiskError(f"{self.path} is not there, or not as large as it must be")
        return found

    def verified_to(self, at: int) -> int:
        """Return the offset up to which bytes from `at` on are verified; `at` itself where that one is not."""
        piece = at // self.piece_length
        if not self.right[piece]:
            return at
        end = self.right.find(b"\0", piece)
        return self.size if end < 0 else end * self.piece_length

    def look(self, piece: int) -> bool:
        """Read a piece unless it was found right before; whether it is."""
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
        """Let go of the file, and open it no more."""
        self._closed, self._opened = True, None

    def _open(self) -> OpenFile | None:
        found = self._opened
        if found is None and not self._closed:
            descriptor = open_file(self.folder, self._name, self.size)
            found = self._opened = None if descriptor is None else OpenFile(descriptor)
        return found


class CheckedReading:
    """A file that no longer looks as it did when it was verified: each piece is checked when it is read.

    A `Reading`. `run` carries out a check on another thread.
    """

    def __init__(self, file: PieceFile, run: Callable[[Callable[[], int]], Future[int]]) -> None:
        self._file, self._run = file, run

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._file.opened().number

    def ready(self, at: int) -> int | Future[int]:
        """Check the piece at `at`; the future raises `VerificationError` for one that is damaged."""
        end = self._file.verified_to(at)
        return end if end > at else self._run(lambda: self._checked(at))

    def _checked(self, at: int) -> int:
        if not self._file.look(at // self._file.piece_length):
            raise VerificationError(f"{self._file.path} is damaged", hint="`p2pqwen verify --repair` mends it")
        return self._file.verified_to(at)

    def close(self) -> None:
        """Close it."""
        self._file.close()
