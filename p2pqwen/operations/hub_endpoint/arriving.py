"""One file that arrives while it is read: who reads it and where, and what of it has been found right.

A reading is asked on the server's thread and answered on the download's. What it may hand on is `PieceFile.right`
alone: pieces that were read back from the disk and hashed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from p2pqwen.errors import P2pqwenError
from p2pqwen.operations.hub_endpoint.reading import OpenFile, PieceFile
from p2pqwen.values.repo_path import RepoPath

SMALL = 16 << 20
"""Bytes; a file of at most this size is brought whole, whatever range of it is read."""


class StreamReading:
    """One reader of an arriving file; a `Reading`. `wanted` are its offsets, `at` where it reads now."""

    def __init__(self, file: ArrivingFile, wanted: range) -> None:
        self.file, self.wanted, self.at = file, wanted, wanted.start
        self.urged = 0  # once it is at this piece of the file, more is asked for ahead of it
        self.next = -1  # the piece that was asked for before all others, and since when it has been
        self.next_since = 0.0
        self.hasty = -1  # the piece for which others were called back
        self._opened: OpenFile | None = None

    @property
    def descriptor(self) -> int:
        """The open file; raises `DiskError` where it is not there."""
        if self._opened is None:  # held on to, so that it outlives the download
            self._opened = self.file.pieces.opened()
        return self._opened.number

    def ready(self, at: int) -> int | Future[int]:
        """Return the end of what is verified from `at` on; else what gives it once it is there, or fails."""
        self.at = at
        end = self.file.pieces.verified_to(at)
        return end if end > at else self.file.wait(at)

    @property
    def wants_all(self) -> bool:
        """Whether it reads the file, and not only a part of it: a header, a tensor."""
        return 2 * len(self.wanted) > self.file.pieces.size or self.file.pieces.size <= SMALL

    def close(self) -> None:
        """Read no more."""
        self._opened = None
        self.file.leave(self)


@dataclass(slots=True)
class Waiting:
    """Somebody waits for the byte at this offset."""

    at: int
    answer: Future[int]


@dataclass(slots=True)
class ArrivingFile:
    """A file on its way, the torrent's at `index`, which begins with its piece `first`.

    `woken` has the download look at once.
    `whole`: all of it is to be had. `here`: every piece has come. `done`: it was hashed, and is what the manifest
    names. `from_disk`: its content is on this disk already, and `pieces` read it there; `taking` puts it in place.
    """

    pieces: PieceFile
    index: int
    first: int
    woken: Callable[[], None]
    from_disk: bool = False
    whole: bool = False
    wanted: bool = False  # the session was told that it is
    here: bool = False
    done: bool = False
    failure: P2pqwenError | None = None
    readers: set[StreamReading] = field(default_factory=set)
    waiting: list[Waiting] = field(default_factory=list)
    taking: Future[None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> RepoPath:
        """Its path in the snapshot."""
        return self.pieces.path

    @property
    def numbers(self) -> range:
        """Its pieces by the torrent's numbers."""
        return range(self.first, self.first + len(self.pieces.right))

    @property
    def active(self) -> bool:
        """Whether somebody reads it, or it is to be had whole and is not yet, or is being looked at."""
        wanted = self.failure is None and (bool(self.readers) or ((self.whole or self.here) and not self.done))
        return wanted or self.taking is not None

    def read(self, wanted: range) -> StreamReading:
        """Return a new reader."""
        reading = StreamReading(self, wanted)
        with self._lock:
            self.readers.add(reading)
        return reading

    def wait(self, at: int) -> Future[int]:
        """Return what will say how far bytes from `at` on are verified."""
        answer: Future[int] = Future()
        with self._lock:
            if self.failure is not None:
                answer.set_exception(self.failure)
                return answer
            self.waiting.append(Waiting(at, answer))
        self.woken()
        return answer

    def leave(self, reading: StreamReading) -> None:
        """Forget a reader; nothing hurries because of that."""
        with self._lock:
            self.readers.discard(reading)

    def answer(self, is_here: Callable[[int], bool]) -> bool:
        """Check the pieces that are waited for and are here, and those behind them; whether anybody was answered.

        `is_here` says, by the torrent's number of a piece, whether it is worth a look.
        """
        with self._lock:
            waiting, self.waiting = self.waiting, []
        left, answered = [], False
        for one in waiting:
            if one.answer.cancelled():
                continue
            self._look_from(one.at // self.pieces.piece_length, is_here)
            end = self.pieces.verified_to(one.at)
            if end > one.at:
                if one.answer.set_running_or_notify_cancel():
                    one.answer.set_result(end)
                answered = True
            else:
                left.append(one)
        with self._lock:
            self.waiting += left
        return answered

    def waits_for_the_disk(self, is_here: Callable[[int], bool]) -> bool:
        """Tell whether somebody waits for a piece that has come, and is not in the file yet."""
        with self._lock:
            offsets = [one.at for one in self.waiting]
        return any(is_here(self.first + at // self.pieces.piece_length) for at in offsets)

    def misses_what_is_waited_for(self) -> bool:
        """Tell whether a piece that somebody waits for is not there, or is wrong."""
        with self._lock:
            offsets = [one.at for one in self.waiting if not one.answer.cancelled()]
        return not all(self.pieces.look(at // self.pieces.piece_length) for at in offsets)

    def look_ahead(self, is_here: Callable[[int], bool]) -> None:
        """Check what is here in front of the readers, so that they need not wait for it."""
        with self._lock:
            readers = list(self.readers)
        for reading in readers:
            self._look_from(self.pieces.verified_to(reading.at) // self.pieces.piece_length, is_here)

    def fail(self, error: P2pqwenError, *, for_good: bool = False) -> None:
        """Tell everybody who waits that it does not come; `for_good`: and everybody who asks later."""
        with self._lock:
            if for_good:
                self.failure = error
            waiting, self.waiting = self.waiting, []
        for one in waiting:
            if one.answer.set_running_or_notify_cancel():
                one.answer.set_exception(error)

    def _look_from(self, piece: int, is_here: Callable[[int], bool]) -> None:
        for number in range(piece, min(piece + _AT_ONCE, len(self.pieces.right))):
            if not is_here(self.first + number) or not self.pieces.look(number):
                return


_AT_ONCE = 16  # pieces checked in one go, so that other readers have their turn
