"""Hashing a file while somebody else appends to it, so that little is left to read at its end.

A large file is hashed by a process of its own (`follow_child`): in one interpreter what brings files and what hashes
them wait for one another, and half of two cores is idle [measured: a download over plain HTTP].

What is followed is one file: where another one stands in its place, that is hashed anew. A writer that went back over
bytes already read makes a digest that is wrong, and the caller, who compares it, hashes the finished file anew.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from p2pqwen.library.durable import disk_errors
from p2pqwen.library.follow_child import DONE
from p2pqwen.library.hash_process import HashProcess
from p2pqwen.library.hashing import SPREAD_FROM, Digester, FileDigests, OnBytes, changed, feed_appended, hash_file
from p2pqwen.library.run_child import identity
from p2pqwen.library.verified import Look
from p2pqwen.portable.cores import usable_cores
from p2pqwen.portable.process import python
from p2pqwen.torrent.merkle import HASH_SIZE
from p2pqwen.torrent.piece_hasher import V1_SIZE, FileHashes
from p2pqwen.values.digest import Sha256

MOST_PROCESSES = 8
"""As many large files are downloaded at once; a process takes 14 MB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a file of `size` bytes; the rest as for `Digester`."""

    size: int
    piece_length: int
    padded: bool
    git_blob: bool

    def digester(self) -> Digester:
        """Return a digester of what is wanted."""
        return Digester(self.size, piece_length=self.piece_length, padded=self.padded, git_blob=self.git_blob)

    def hash(self, path: Path, on_bytes: OnBytes, begun: Digester | None = None) -> FileDigests:
        """Read a finished file, or what is left of it; raises as `hash_file` does."""
        return hash_file(
            path,
            piece_length=self.piece_length,
            padded=self.padded,
            git_blob=self.git_blob,
            on_bytes=on_bytes,
            begun=begun,
        )


class Follower(Protocol):
    """Hashes one file that grows. Called from one thread at a time; `on_bytes` counts what was hashed."""

    @property
    def begun(self) -> bool:
        """Whether there is more than nothing to go on with."""

    @property
    def done(self) -> int:
        """Bytes that are hashed."""

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Go on with what has been appended; a file that is not there any more is no error."""

    def restart(self) -> None:
        """Forget what was read: the writer begins again."""

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Return the digests of the finished file; raises as `hash_file` does."""

    def close(self) -> None:
        """End; nothing is asked of it any more."""


class Followers:
    """The followers of one run, of which few are processes; a context manager that ends them. For several threads."""

    def __init__(self) -> None:
        self._processes: set[ProcessFollower] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in list(self._processes):
            one.close()

    def begin(self, wanted: Wanted) -> Follower:
        """Return a follower that hashes a file in the best way here; `end` it."""
        large = wanted.size >= max(SPREAD_FROM, wanted.piece_length)
        # Git's own hash takes a file whole, and no large file of the Hub is wanted with it.
        if not large or wanted.git_blob or usable_cores() < 2 or len(self._processes) >= MOST_PROCESSES:
            return ThreadFollower(wanted)
        one = ProcessFollower(wanted)
        self._processes.add(one)
        return one

    def end(self, follower: Follower) -> None:
        """End one of them."""
        follower.close()
        if isinstance(follower, ProcessFollower):
            self._processes.discard(follower)


class ThreadFollower:
    """Hashes on the thread that calls it."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._digester: Digester | None = None
        self._file: tuple[int, int] | None = None

    @property
    def begun(self) -> bool:
        """Whether a byte was read."""
        return self.done > 0

    @property
    def done(self) -> int:
        """Bytes that are hashed."""
        return 0 if self._digester is None else self._digester.done

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Read what has been appended."""
        self._forget_another(path, on_bytes)
        if self._digester is None:
            self._digester = self._wanted.digester()
        feed_appended(self._digester, path, on_bytes)

    def restart(self) -> None:
        """Forget what was read."""
        self._digester = self._file = None

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Read what is left."""
        self._forget_another(path, on_bytes)
        begun, self._digester = self._digester, None
        return self._wanted.hash(path, on_bytes, begun)

    def close(self) -> None:
        """Keep nothing that was read."""
        self._digester = None

    def _forget_another(self, path: Path, on_bytes: OnBytes) -> None:
        """Begin again where a path leads to another file than the one that was read."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        file = found.st_dev, found.st_ino
        if self._file not in {None, file}:
            on_bytes(-self.done)
            self.restart()
        self._file = file


class ProcessFollower:
    """Has a process hash, which is started once there is something to hash; where it fails, the file is read anew."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._thread = ThreadPoolExecutor(1, "follow")  # that waits for its answers
        self._lock = threading.Lock()
        self._process: HashProcess | None = None
        self._closed = False
        self._round = 0  # what was asked in an earlier one is not begun any more
        self._asked: Future[tuple[int, bytes]] | None = None
        self._failed = False
        self._done = 0

    @property
    def done(self) -> int:
        """Bytes that are hashed, as far as it has told."""
        return self._done

    @property
    def begun(self) -> bool:
        """Whether the process was asked for anything."""
        return self._asked is not None or self._done > 0

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Ask the process to go on, unless it is at work; waits for nothing."""
        if self._asked is not None and not self._asked.done():
            return
        self._take(on_bytes)
        if not self._failed:
            self._asked = self._thread.submit(self._ask, path, self._round, is_whole=False)

    def restart(self) -> None:
        """Start over in a new process."""
        with self._lock:
            self._round += 1
        self._end()
        self._asked, self._failed, self._done = None, False, 0

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Have it read what is left."""
        try:
            found = self._finish(path, on_bytes)
        finally:
            self.close()
        if found is not None:
            return found
        on_bytes(-self._done)
        self._done = 0
        return self._wanted.hash(path, on_bytes)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
        self._end()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _finish(self, path: Path, on_bytes: OnBytes) -> FileDigests | None:
        self._take(on_bytes)
        if self._failed or not self._done:
            return None
        with disk_errors(f"read {path}"):
            before = path.stat()
            try:
                done, answer = self._ask(path, self._round, is_whole=True)
            except OSError:
                return None
            after = path.stat()
        if identity(before) != identity(after) or done != after.st_size:
            raise changed(path)
        on_bytes(done - self._done)
        rows_at = HASH_SIZE + self._pieces(done) * V1_SIZE
        pieces, rows = answer[HASH_SIZE:rows_at], answer[rows_at:]
        hashes = FileHashes.of_pieces(pieces, rows, self._wanted.piece_length, size=done)
        return FileDigests(done, Sha256(answer[:HASH_SIZE]), None, hashes, None, Look.of_stat(after))

    def _pieces(self, size: int) -> int:
        return -(-size // self._wanted.piece_length)

    def _take(self, on_bytes: OnBytes) -> None:
        """Wait for the last answer, and take it."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        try:
            done, _ = asked.result()
        except OSError:
            self._failed = True
            on_bytes(-self._done)
            self._done = 0
        else:
            on_bytes(done - self._done)
            self._done = done

    def _ask(self, path: Path, round_: int, *, is_whole: bool) -> tuple[int, bytes]:
        """Return how far it has come and the rest of its answer; raises `OSError` where it does not answer."""
        with self._lock:
            if self._closed or round_ != self._round:
                raise BrokenPipeError("nobody waits for this any more")
            if self._process is None:
                length, padded = str(self._wanted.piece_length), str(int(self._wanted.padded))
                self._process = HashProcess(python("-m", "p2pqwen.library.follow_child", length, padded))
            process = self._process
        (done,) = DONE.unpack(process.ask([os.fspath(path.absolute()), is_whole], DONE.size))
        size = HASH_SIZE + self._pieces(done) * (V1_SIZE + HASH_SIZE) if is_whole else 0
        return done, process.read(size)

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        if self._asked is not None:
            wait([self._asked])  # it reads from a pipe, and may not be closed under its hands
        process.close()
