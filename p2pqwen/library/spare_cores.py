"""Cores that no reader of a file keeps busy hash pieces for those that read.

Of a file's digests only the whole SHA-256 has to see its bytes in order; its pieces are independent of one another. One
large file is therefore read and digested on one core, and its pieces are hashed on the others. Where each core has a
file of its own there is nothing to spare, and each reader hashes its pieces itself, while they are in its core's cache.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from p2pqwen.portable.cores import usable_cores
from p2pqwen.torrent.piece_hasher import FileHashes, HashedPiece, PieceHasher

MAX_WAITING = 64 << 20
"""Bytes of pieces that wait for a core or are hashed on one, of all files together."""
_AHEAD = 2  # pieces for each spare core: one that is hashed, one that waits


class SpareCores:
    """How many cores are free, and the pieces given to them. Its methods may be called from several threads."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._readers = self._waiting = self._bytes = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within the block the calling thread keeps a core busy."""
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1

    def hash_piece(self, piece: bytearray) -> Future[HashedPiece] | None:
        """Hash a piece on a spare core; None where there is none. The piece must stay as it is until it is done."""
        with self._lock:
            free = max(0, self._cores - self._readers)
            room = self._bytes == 0 or self._bytes + len(piece) <= MAX_WAITING
            if self._waiting >= _AHEAD * free or not room:
                return None
            self._waiting += 1
            self._bytes += len(piece)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._cores, "piece")
        return self._pool.submit(self._hash, piece)

    def _hash(self, piece: bytearray) -> HashedPiece:
        try:
            return HashedPiece.of(piece)
        finally:
            with self._lock:
                self._waiting -= 1
                self._bytes -= len(piece)


SPARE = SpareCores(usable_cores())


class SpreadPieces:
    """Hashes the pieces of one file as `PieceHasher` does, on spare cores where there are some.

    What is read goes into `room()`, then `update` says how much came.
    """

    def __init__(self, piece_length: int, *, padded: bool, spare: SpareCores) -> None:
        self._hasher = PieceHasher(piece_length, padded=padded)
        self._piece_length, self._spare = piece_length, spare
        self._filled = 0
        self._done: deque[HashedPiece | tuple[bytearray, Future[HashedPiece]]] = deque()  # in the file's order
        self._unused: list[bytearray] = []
        self._piece = bytearray(piece_length)

    def room(self, at_most: int) -> memoryview:
        """Return where the file's next bytes go."""
        return memoryview(self._piece)[self._filled : self._filled + at_most]

    def update(self, count: int) -> None:
        """Take the next `count` bytes, which lie in `room()`."""
        self._filled += count
        if self._filled == self._piece_length:
            self._end_piece()

    def finish(self) -> FileHashes:
        """Return the file's hashes; the hasher is of no use afterwards."""
        while self._done:
            self._take()
        self._hasher.update(memoryview(self._piece)[: self._filled])
        return self._hasher.finish()

    def _end_piece(self) -> None:
        self._filled = 0
        while self._done and self._is_hashed(self._done[0]):
            self._take()
        future = self._spare.hash_piece(self._piece)
        if future is None:
            self._done.append(HashedPiece.of(self._piece))
            return
        self._done.append((self._piece, future))
        self._piece = self._unused.pop() if self._unused else bytearray(self._piece_length)

    @staticmethod
    def _is_hashed(one: HashedPiece | tuple[bytearray, Future[HashedPiece]]) -> bool:
        return isinstance(one, HashedPiece) or one[1].done()

    def _take(self) -> None:
        match self._done.popleft():
            case HashedPiece() as hashed:
                self._hasher.add(hashed)
            case (piece, future):
                self._hasher.add(future.result())
                self._unused.append(piece)
