"""A process that hashes pieces (`piece_child`), and the few of them that this one keeps while large files are read.

On threads of one interpreter each hash of 16 KiB gives up its lock and waits for it again, and two such threads spend a
sixth of both cores on that [measured]; a process of its own has a lock of its own.
"""

from __future__ import annotations

import threading

from p2pqwen.library.hash_process import HashProcess
from p2pqwen.library.piece_child import Run, hash_run
from p2pqwen.portable.process import python
from p2pqwen.torrent.merkle import HASH_SIZE
from p2pqwen.torrent.piece_hasher import V1_SIZE, FileHashes


class PieceProcess(HashProcess):
    """One process, which hashes one run after another."""

    def __init__(self) -> None:
        """Start it; raises `OSError`."""
        super().__init__(python("-m", "p2pqwen.library.piece_child"))
        self.has_answered = False

    def hash(self, run: Run) -> FileHashes:
        """Return the hashes of a run; raises `OSError` if the process does not answer."""
        count = (run.stop - run.start) // run.piece_length
        answer = self.ask(run, count * (V1_SIZE + HASH_SIZE))
        self.has_answered = True
        return FileHashes.of_pieces(answer[: count * V1_SIZE], answer[count * V1_SIZE :], run.piece_length)


class PieceProcesses:
    """Started as runs come, at most as many as runs are hashed at once, and ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[PieceProcess] = []
        self._none_here = False

    def hash(self, run: Run) -> FileHashes:
        """Hash a run in a process that is free, else in this one; raises `OSError` where the file cannot be read."""
        if (process := self._take()) is None:
            return hash_run(run)
        try:
            hashes = process.hash(run)
        except OSError:
            process.close()
            hashes = hash_run(run)  # raises what the process met, if that was the file
            self._none_here |= not process.has_answered
            return hashes
        except BaseException:
            process.close()
            raise
        with self._lock:
            self._free.append(process)
        return hashes

    def close(self) -> None:
        """End those that are free."""
        with self._lock:
            ended, self._free = self._free, []
        for process in ended:
            process.close()

    def _take(self) -> PieceProcess | None:
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._none_here:
                return None
        try:
            return PieceProcess()
        except OSError:  # no Python to start, or no more processes for this user
            self._none_here = True
            return None
