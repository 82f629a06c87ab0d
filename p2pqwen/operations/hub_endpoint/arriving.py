"""A file that arrives while it is read: its readers, their offsets, and which pieces are verified.

Readings are requested on the server's thread and answered on the download's. They may only deliver pieces in
`PieceFile.right`: those that were read back from the disk and hashed.
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
"""Bytes; a file of at most this size is downloaded whole, whatever range of it is read."""


class StreamReading:
    """One reader of an arriving file; a `Reading`. `wanted` are its offsets, `at` where it reads now."""

    def __init__(self, file: ArrivingFile, wanted: range) -> None:
        self.file, self.wanted, self.at = file, wanted, wanted.start
        self.urged = 0  # at this piece of the file, more pieces are requested ahead
        self.next = -1  # the piece that was requested first, and since when
        self.next_since = 0.0
        self.hasty = -1  # the piece for which other requests were cancelled
        self._opened: OpenFile | None = None

    @property
    def descriptor(self) -> int:
        """The open file; raises `DiskError` if it does not exist."""
        if self._opened is None:  # kept, so that it outlives the download
            self._opened = self.file.pieces.opened()
        return self._opened.number

    def ready(self, at: int) -> int | Future[int]:
        """Return the end of the verified bytes from `at` on, or a future that returns it later, or fails."""
        self.at = at
        end = self.file.pieces.verified_to(at)
        return end if end > at else self.file.wait(at)

    @property
    def wants_all(self) -> bool:
        """Whether it reads the file as a whole, not only a part such as a header or a tensor."""
        return 2 * len(self.wanted) > self.file.pieces.size or self.file.pieces.size <= SMALL

    def close(self) -> None:
        """Stop reading."""
        self._opened = None
        self.file.leave(self)


@dataclass(slots=True)
class Waiting:
    """A reader waits for the byte at this offset."""

    at: int
    answer: Future[int]


@dataclass(slots=True)
class ArrivingFile:
    """A file that is being downloaded: the torrent's at `index`, which starts at piece `first`.

    `woken` makes the download look at once. `whole`: all of it is wanted. `here`: every piece has arrived. `done`: it
    was hashed and matches the manifest. `from_disk`: its content is already on this disk, where `pieces` reads it;
    `taking` puts it in place.
    """

    pieces: PieceFile
    index: int
    first: int
    woken: Callable[[], None]
    from_disk: bool = False
    whole: bool = False
    wanted: bool = False  # the session was told that the file is wanted
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
        """Its pieces, by their numbers in the torrent."""
        return range(self.first, self.first + len(self.pieces.right))

    @property
    def active(self) -> bool:
        """Whether it has readers, is wanted whole and not done, or is being put in place."""
        wanted = self.failure is None and (bool(self.readers) or ((self.whole or self.here) and not self.done))
        return wanted or self.taking is not None

    def read(self, wanted: range) -> StreamReading:
        """Return a new reader."""
        reading = StreamReading(self, wanted)
        with self._lock:
            self.readers.add(reading)
        return reading

    def wait(self, at: int) -> Future[int]:
        """Return a future for the end of the verified bytes from `at` on."""
        answer: Future[int] = Future()
        with self._lock:
            if self.failure is not None:
                answer.set_exception(self.failure)
                return answer
            self.waiting.append(Waiting(at, answer))
        self.woken()
        return answer

    def leave(self, reading: StreamReading) -> None:
        """Forget a reader; this wakes nothing."""
        with self._lock:
            self.readers.discard(reading)

    def answer(self, is_here: Callable[[int], bool]) -> bool:
        """Check the pieces that readers wait for and those after them; tell whether a reader was answered.

        `is_here` tells whether a piece, by its number in the torrent, has arrived.
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
        """Tell whether a reader waits for a piece that has arrived but is not yet in the file."""
        with self._lock:
            offsets = [one.at for one in self.waiting]
        return any(is_here(self.first + at // self.pieces.piece_length) for at in offsets)

    def misses_what_is_waited_for(self) -> bool:
        """Tell whether a piece that a reader waits for is missing or wrong."""
        with self._lock:
            offsets = [one.at for one in self.waiting if not one.answer.cancelled()]
        return not all(self.pieces.look(at // self.pieces.piece_length) for at in offsets)

    def look_ahead(self, is_here: Callable[[int], bool]) -> None:
        """Check the pieces ahead of the readers, so that they need not wait for them."""
        with self._lock:
            readers = list(self.readers)
        for reading in readers:
            self._look_from(self.pieces.verified_to(reading.at) // self.pieces.piece_length, is_here)

    def fail(self, error: P2pqwenError, *, for_good: bool = False) -> None:
        """Fail all waiting readers; `for_good`: later ones too."""
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


_AT_ONCE = 16  # pieces checked in one go, so that other readers get a turn
