"""Hash large files in processes: one for each file, and more for its pieces while cores are free.

Of a file's digests only the whole SHA-256 has to see its bytes in order; its pieces are independent of one another. So
one process (`run_process`) digests a file run by run, and hashes the pieces of each run in the same pass. While other
cores are free, their processes hash the pieces instead, as many runs as they can take: a faster core does more.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from p2pqwen.library.run_child import Run
from p2pqwen.library.run_process import RunProcess, RunProcesses
from p2pqwen.portable.cores import usable_cores
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.values.digest import Sha256

_MOST_SPARE = 3  # 2 keep up with one file, and other files need processes too
_AHEAD = 2  # runs for each spare core: one being hashed, one waiting
_RUN = 8 << 20  # bytes, at least a piece: the end of a file waits for one run, and each costs 2 thread switches


class SpareCores:
    """Counts the free cores and the runs given to them; thread-safe."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._readers = self._waiting = self._users = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.processes = RunProcesses()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep processes from one file to the next within the block; they end when the last block does."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                last = not self._users
            if last:
                self.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count the calling thread as one busy core within the block."""
        with self._lock:
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1

    def hash_run(self, run: Run) -> Future[FileHashes] | None:
        """Hash a run on a spare core; None if there is none. The future raises `OSError`."""
        with self._lock:
            free = min(max(0, self._cores - self._readers), _MOST_SPARE)
            if self._waiting >= _AHEAD * free:
                return None
            self._waiting += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(max(1, self._cores - 1), _MOST_SPARE), "piece")
        return self._pool.submit(self._hash, run)

    def close(self) -> None:
        """End the free processes; the next file starts new ones."""
        self.processes.close()

    def _hash(self, run: Run) -> FileHashes:
        try:
            with self.in_use():  # the caller may have left its own block
                return self.processes.hash(run)
        finally:
            with self._lock:
                self._waiting -= 1


SPARE = SpareCores(usable_cores())
atexit.register(SPARE.close)


def digest_file(
    file: Run, *, padded: bool, spare: SpareCores, on_bytes: Callable[[int], None]
) -> tuple[Sha256, FileHashes] | None:
    """Return a file's SHA-256 and its hashes; None if no process is free, and it must be read here.

    `file`: the whole file as a run. `padded`: a pad file follows. Raises `OSError`, `OtherFileError` if the file was
    replaced or changed, and what `on_bytes` raises.
    """
    with spare.in_use():
        if (process := spare.processes.take()) is None:
            return None
        try:
            with spare.reading():
                found = _Digestion(file, padded=padded, spare=spare, process=process).run(on_bytes)
        except BaseException:
            spare.processes.end(process)
            raise
        spare.processes.give_back(process)
        return found


class _Digestion:
    """One file being hashed by its own process, and by others that hash its pieces."""

    def __init__(self, file: Run, *, padded: bool, spare: SpareCores, process: RunProcess) -> None:
        self._file, self._spare, self._process = file, spare, process
        self._hashes = PieceHasher(file.piece_length, padded=padded)
        self._waiting: deque[Future[FileHashes] | FileHashes] = deque()  # in the file's order

    def run(self, on_bytes: Callable[[int], None]) -> tuple[Sha256, FileHashes]:
        length, size = self._file.piece_length, self._file.stop
        step, whole = max(_RUN // length, 1) * length, size - size % length
        digest = b""
        for start in range(0, whole, step):
            run = self._file._replace(start=start, stop=min(start + step, whole))
            given = self._spare.hash_run(run)
            hashes, digest = self._process.digest(run, pieces=given is None, last=run.stop == size)
            if (found := given or hashes) is not None:
                self._waiting.append(found)
            self._settle(wait=False)
            on_bytes(run.stop - run.start)
        if whole < size:
            _, digest = self._process.digest(self._file._replace(start=whole), pieces=False, last=True)
        self._settle(wait=True)
        if whole < size:  # less than a piece, so not part of a run
            self._hashes.update(_tail(self._file.path, whole, size))
            on_bytes(size - whole)
        return Sha256(digest), self._hashes.finish()

    def _settle(self, *, wait: bool) -> None:
        """Add the hashes that are ready, up to the first that is not."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Future):
                if not wait and not first.done():
                    return
                first = first.result()
            self._hashes.add(first)
            self._waiting.popleft()


def _tail(path: str, start: int, stop: int) -> bytes:
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(stop - start)
