"""Cores that no reader of a file keeps busy hash pieces for those that read.

Of a file's digests only the whole SHA-256 has to see its bytes in order; its pieces are independent of one another. A
large file is therefore read and digested on one core. Runs of its pieces are read once more, out of the system's cache,
and hashed on other cores by processes (`piece_process`). While those have enough to do, the reader hashes pieces
itself, as it reads them: whichever core is faster does more.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from p2pqwen.library.piece_child import Run
from p2pqwen.library.piece_process import PieceProcesses
from p2pqwen.portable.cores import usable_cores
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher

MAX_PROCESSES = 3
"""Each is 14 MB of memory; two keep up with one reader."""
_AHEAD = 2  # runs for each spare core: one that is hashed, one that waits
_RUN = 8 << 20  # bytes, at least a piece: the end of a file waits for one run, and each costs two changes of thread


class SpareCores:
    """How many cores are free, and the runs given to them. Its methods may be called from several threads."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._readers = self._waiting = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._processes = PieceProcesses()

    @property
    def most_readers(self) -> int:
        """How many large files are best read at once: the others' cores hash their pieces."""
        return max(1, self._cores - min(self._cores // 2, MAX_PROCESSES))

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

    def hash_run(self, run: Run) -> Future[FileHashes] | None:
        """Hash a run on a spare core; None where there is none. The future raises `OSError`."""
        with self._lock:
            free = min(max(0, self._cores - self._readers), MAX_PROCESSES)
            if self._waiting >= _AHEAD * free:
                return None
            self._waiting += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(max(1, self._cores - 1), MAX_PROCESSES), "piece")
        return self._pool.submit(self._hash, run)

    def close(self) -> None:
        """End the processes that have nothing to do; the next run starts others."""
        self._processes.close()

    def _hash(self, run: Run) -> FileHashes:
        try:
            return self._processes.hash(run)
        finally:
            with self._lock:
                self._waiting -= 1


SPARE = SpareCores(usable_cores())
atexit.register(SPARE.close)


class SpreadPieces:
    """Hashes the pieces of one file as `PieceHasher` does, on spare cores where there are some.

    `file`: the whole file as a run. Raises `OSError` where a run cannot be read again.
    """

    def __init__(self, file: Run, *, padded: bool, spare: SpareCores) -> None:
        self._file, self._spare = file, spare
        self._whole = PieceHasher(file.piece_length, padded=padded)
        self._waiting: deque[Future[FileHashes] | FileHashes] = deque()  # in the file's order, before `_at`
        self._here: PieceHasher | None = None  # of the piece, or the end, that is hashed here
        self._at = self._until = file.start  # `_until`: the end of what is given away, or hashed here

    def update(self, chunk: memoryview) -> None:
        """Take the file's next bytes."""
        while chunk:
            if self._at == self._until:
                self._begin()
            part = chunk[: self._until - self._at]
            if self._here is not None:
                self._here.update(part)
            self._at += len(part)
            if self._at == self._until and self._here is not None and self._here is not self._whole:
                self._waiting.append(self._here.finish())
            chunk = chunk[len(part) :]

    def finish(self) -> FileHashes:
        """Return the file's hashes; the hasher is of no use afterwards."""
        self._settle(wait=True)
        return self._whole.finish()

    def _begin(self) -> None:
        """Decide who hashes what comes next: another core some pieces, or this one a piece, or the end of the file."""
        length, left = self._file.piece_length, self._file.stop - self._at
        self._settle(wait=left < length)
        if left < length:
            self._here, self._until = self._whole, self._at + max(left, length)  # a file that has grown is refused
            return
        count = min(max(1, _RUN // length), left // length)
        run = self._file._replace(start=self._at, stop=self._at + count * length)
        if (future := self._spare.hash_run(run)) is not None:
            self._waiting.append(future)
            self._here, self._until = None, run.stop
        else:
            self._here, self._until = PieceHasher(length, padded=False), self._at + length

    def _settle(self, *, wait: bool) -> None:
        """Add what is hashed, as far as nothing before it is missing."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Future):
                if not wait and not first.done():
                    return
                first = first.result()
            self._whole.add(first)
            self._waiting.popleft()
