"""A process that hashes pieces (`piece_child`), and the few of them that this one keeps while large files are read.

On threads of one interpreter each hash of 16 KiB gives up its lock and waits for it again, and two such threads spend a
sixth of both cores on that [measured]; a process of its own has a lock of its own.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

from p2pqwen.library.piece_child import Run, hash_run
from p2pqwen.portable.process import python
from p2pqwen.torrent.merkle import HASH_SIZE
from p2pqwen.torrent.piece_hasher import V1_SIZE, FileHashes


class PieceProcess:
    """One process, which hashes one run after another; `close` ends it, and so does our own end."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Start it; raises `OSError`."""
        self.has_answered = False
        self._process = subprocess.Popen(
            command or python("-m", "p2pqwen.library.piece_child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us, and it ends when we do
        )

    def hash(self, run: Run) -> FileHashes:
        """Return the hashes of a run; raises `OSError` if the process does not answer."""
        assert self._process.stdin is not None  # noqa: S101 - pipes
        assert self._process.stdout is not None  # noqa: S101
        count = (run.stop - run.start) // run.piece_length
        line = json.dumps(run).encode() + b"\n"
        self._process.stdin.write(line)
        self._process.stdin.flush()
        begin = sha256(line).digest()
        size = len(begin) + count * (V1_SIZE + HASH_SIZE)
        answer = self._process.stdout.read(size)
        if len(answer) != size or not answer.startswith(begin):
            raise BrokenPipeError("the process that hashes pieces has ended, or something else writes where it does")
        answer = answer[len(begin) :]
        self.has_answered = True
        return FileHashes.of_pieces(answer[: count * V1_SIZE], answer[count * V1_SIZE :], run.piece_length)

    def close(self) -> None:
        """End it; it keeps nothing."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 - pipes
            with suppress(OSError):  # what it was asked and never read
                pipe.close()
        self._process.wait()


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
