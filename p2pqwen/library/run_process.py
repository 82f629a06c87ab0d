"""Processes that hash runs of files (`run_child`): a few, which this process keeps from one run to the next.

Threads of one interpreter release its lock for each hash of 16 KiB and wait to take it again. Two such threads were
measured to spend a sixth of both cores on that. A process has an interpreter lock to itself.
"""

from __future__ import annotations

import threading

from p2pqwen.library.hash_process import HashProcess
from p2pqwen.library.run_child import Run, Wish, hash_run
from p2pqwen.portable.process import python
from p2pqwen.torrent.merkle import HASH_SIZE
from p2pqwen.torrent.piece_hasher import V1_SIZE, FileHashes

MAX_PROCESSES = 8
"""Each takes 14 MB of memory."""


class RunProcess(HashProcess):
    """A process that hashes one run after another. Methods raise `OSError` if it does not answer."""

    def __init__(self) -> None:
        """Start it; raises `OSError`."""
        super().__init__(python("-m", "p2pqwen.library.run_child"))
        self.has_answered = False

    def hash(self, run: Run) -> FileHashes:
        """Return the hashes of a run."""
        hashes = self._ask(run, Wish(pieces=True, whole=False))[0]
        assert hashes is not None  # noqa: S101 - the wish asks for them
        return hashes

    def digest(self, run: Run, *, pieces: bool, last: bool) -> tuple[FileHashes | None, bytes]:
        """Hash the next run of a file that is digested as a whole; return its hashes, and if `last` the SHA-256."""
        return self._ask(run, Wish(pieces, whole=True), HASH_SIZE if last else 0)

    def _ask(self, run: Run, wish: Wish, more: int = 0) -> tuple[FileHashes | None, bytes]:
        count = (run.stop - run.start) // run.piece_length if wish.pieces else 0
        rows, end = count * V1_SIZE, count * (V1_SIZE + HASH_SIZE)
        answer = self.ask((run, wish), end + more)
        self.has_answered = True
        hashes = FileHashes.of_pieces(answer[:rows], answer[rows:end], run.piece_length) if wish.pieces else None
        return hashes, answer[end:]


class RunProcesses:
    """A pool of at most `MAX_PROCESSES`: started on demand, reused, and ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[RunProcess] = []
        self._taken = 0
        self._none_here = False

    def hash(self, run: Run) -> FileHashes:
        """Hash a run in a free process, else in this one; raises `OSError` if the file cannot be read."""
        if (process := self.take()) is None:
            return hash_run(run)
        try:
            hashes = process.hash(run)
        except OSError:
            self.end(process)
            return hash_run(run)  # raises the same error, if the file is the reason
        except BaseException:
            self.end(process)
            raise
        self.give_back(process)
        return hashes

    def take(self) -> RunProcess | None:
        """Return a process, to pass to `give_back` or `end`; None if there is none."""
        with self._lock:
            if self._none_here or self._taken >= MAX_PROCESSES:
                return None
            self._taken += 1
            if self._free:
                return self._free.pop()
        try:
            return RunProcess()
        except OSError:  # no Python to start, or no more processes for this user
            with self._lock:
                self._taken -= 1
                self._none_here = True
            return None

    def give_back(self, process: RunProcess) -> None:
        """Put back a process that has answered."""
        with self._lock:
            self._taken -= 1
            self._free.append(process)

    def end(self, process: RunProcess) -> None:
        """End a process that was taken. If it never answered, whatever the file, no other is started."""
        useless = not process.has_answered and not process.could_not_read()
        with self._lock:
            self._taken -= 1
            self._none_here |= useless
        process.close()

    def close(self) -> None:
        """End the free processes."""
        with self._lock:
            ended, self._free = self._free, []
        for process in ended:
            process.close()
