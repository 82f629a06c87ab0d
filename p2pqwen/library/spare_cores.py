"""Large files hashed by processes: each by one, and its pieces by others where cores have nothing else to do.

Of a file's digests only the whole SHA-256 has to see its bytes in order; its pieces are independent of one another. So
a file has one process (`run_process`) that digests it run after run, and hashes the pieces of a run in the same pass.
While other cores are free, their processes get the pieces instead, as many runs as they can take: whichever core is
faster does more.
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

_MOST_SPARE = 3  # two keep up with one file, and other files need processes too
_AHEAD = 2  # runs for each spare core: one that is hashed, one that waits
_RUN = 8 << 20  # bytes, at least a piece: the end of a file waits for one run, and each costs two changes of thread


class SpareCores:
    """How many cores are free, and the runs given to them. Its methods may be called from several threads."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._readers = self._waiting = self._users = 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.processes = RunProcesses()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep processes from one file to the next within the block; once nobody is in one, they are ended."""
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
            free = min(max(0, self._cores - self._readers), _MOST_SPARE)
            if self._waiting >= _AHEAD * free:
                return None
            self._waiting += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(min(max(1, self._cores - 1), _MOST_SPARE), "piece")
        return self._pool.submit(self._hash, run)

    def close(self) -> None:
        """End the processes that have nothing to do; the next file starts others."""
        self.processes.close()

    def _hash(self, run: Run) -> FileHashes:
        try:
            with self.in_use():  # the caller may have given up
                return self.processes.hash(run)
        finally:
            with self._lock:
                self._waiting -= 1


SPARE = SpareCores(usable_cores())
atexit.register(SPARE.close)


def digest_file(
    file: Run, *, padded: bool, spare: SpareCores, on_bytes: Callable[[int], None]
) -> tuple[Sha256, FileHashes] | None:
    """Return the SHA-256 of a file and its hashes; None where no process does it, and it is to be read here.

    `file`: the whole file as a run. `padded`: a pad file follows. Raises `OSError` and
    `OtherFileError` where the file cannot be read or is another one by now, and what `on_bytes` raises.
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
    """One file on its way through its process, and through others that hash its pieces."""

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
        if whole < size:  # less than a piece: no run
            self._hashes.update(_tail(self._file.path, whole, size))
            on_bytes(size - whole)
        return Sha256(digest), self._hashes.finish()

    def _settle(self, *, wait: bool) -> None:
        """Add what is hashed, as far as nothing before it is missing."""
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
