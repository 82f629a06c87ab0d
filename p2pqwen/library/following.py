"""Hash a file while it is being written, so that little is left to read at the end.

A child process hashes a large file (`follow_child`). In one interpreter, the threads that fetch files and those that
hash them wait for one another: measured on a download over plain HTTP, half of two cores was idle.

A follower hashes one file: if another file takes its path, hashing starts again. A writer that overwrites bytes already
read makes the digest wrong; the caller compares it, and then hashes the finished file again.
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
"""As many large files are downloaded at once. A process takes 14 MB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which digests of a file of `size` bytes are wanted; the other fields as for `Digester`."""

    size: int
    piece_length: int
    padded: bool
    git_blob: bool

    def digester(self) -> Digester:
        """Return a digester for these digests."""
        return Digester(self.size, piece_length=self.piece_length, padded=self.padded, git_blob=self.git_blob)

    def hash(self, path: Path, on_bytes: OnBytes, begun: Digester | None = None) -> FileDigests:
        """Read a finished file, or the rest of one that `begun` has begun; raises as `hash_file` does."""
        return hash_file(
            path,
            piece_length=self.piece_length,
            padded=self.padded,
            git_blob=self.git_blob,
            on_bytes=on_bytes,
            begun=begun,
        )


class Follower(Protocol):
    """Hashes one growing file. Called from one thread at a time; `on_bytes` counts the bytes hashed."""

    @property
    def begun(self) -> bool:
        """Whether anything was hashed or asked for."""

    @property
    def done(self) -> int:
        """Bytes hashed."""

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Hash what was appended since; a missing file is no error."""

    def restart(self) -> None:
        """Forget what was read: the writer starts again."""

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Return the digests of the finished file; raises as `hash_file` does."""

    def close(self) -> None:
        """Free what it holds; call nothing after this."""


class Followers:
    """The followers of one run, at most `MOST_PROCESSES` of them processes; thread-safe.

    A context manager that ends them.
    """

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
        """Return the best follower for this file; pass it to `end` afterwards."""
        large = wanted.size >= max(SPREAD_FROM, wanted.piece_length)
        # Git's own hash takes a file whole, and large files of the Hub do not need it.
        if not large or wanted.git_blob or usable_cores() < 2 or len(self._processes) >= MOST_PROCESSES:
            return ThreadFollower(wanted)
        one = ProcessFollower(wanted)
        self._processes.add(one)
        return one

    def end(self, follower: Follower) -> None:
        """End a follower."""
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
        """Bytes hashed."""
        return 0 if self._digester is None else self._digester.done

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Read what was appended since."""
        self._forget_another(path, on_bytes)
        if self._digester is None:
            self._digester = self._wanted.digester()
        feed_appended(self._digester, path, on_bytes)

    def restart(self) -> None:
        """Forget what was read."""
        self._digester = self._file = None

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Read the rest."""
        self._forget_another(path, on_bytes)
        begun, self._digester = self._digester, None
        return self._wanted.hash(path, on_bytes, begun)

    def close(self) -> None:
        """Drop what was read."""
        self._digester = None

    def _forget_another(self, path: Path, on_bytes: OnBytes) -> None:
        """Start again if the path now leads to another file than the one that was read."""
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
    """Hashes in a process, started once there is something to hash; if it fails, `finish` reads the file itself."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._thread = ThreadPoolExecutor(1, "follow")  # waits for answers
        self._lock = threading.Lock()
        self._process: HashProcess | None = None
        self._closed = False
        self._round = 0  # a request of an earlier round is not started any more
        self._asked: Future[tuple[int, bytes]] | None = None
        self._failed = False
        self._done = 0

    @property
    def done(self) -> int:
        """Bytes hashed, by the last answer."""
        return self._done

    @property
    def begun(self) -> bool:
        """Whether the process was asked for anything."""
        return self._asked is not None or self._done > 0

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Ask the process to hash what was appended, unless it is busy; does not wait."""
        if self._asked is not None and not self._asked.done():
            return
        self._take(on_bytes)
        if not self._failed:
            self._asked = self._thread.submit(self._ask, path, self._round, is_whole=False)

    def restart(self) -> None:
        """Start again in a new process."""
        with self._lock:
            self._round += 1
        self._end()
        self._asked, self._failed, self._done = None, False, 0

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Have the process read the rest."""
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
        """Wait for the last answer, and use it."""
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
        """Return how many bytes are hashed and the rest of the answer; raises `OSError` if there is none."""
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
            wait([self._asked])  # its thread reads from the pipe, which must not be closed meanwhile
        process.close()
