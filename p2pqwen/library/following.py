"""Hashing a file while somebody else appends to it, so that little is left to read at its end.

A large file is hashed by a process of its own (`follow_child`): in one interpreter what brings files and what hashes
them wait for one another, and half of two cores is idle [measured: a download over plain HTTP].

What is followed is one file: where another one stands in its place, that is hashed anew. A writer that went back over
bytes already read makes a digest that is wrong, and the caller, who compares it, hashes the finished file anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from p2pqwen.library.durable import disk_errors
from p2pqwen.library.follow_child import DONE, SIZES
from p2pqwen.library.hashing import SPREAD_FROM, Digester, FileDigests, OnBytes, advance, changed, hash_file
from p2pqwen.library.piece_child import identity
from p2pqwen.library.verified import Look
from p2pqwen.portable.cores import usable_cores
from p2pqwen.portable.process import python
from p2pqwen.torrent.piece_hasher import FileHashes
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
        """Return what makes it."""
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
        """Return what hashes a file best here; `end` it."""
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
        if not self._is_same(path):
            on_bytes(-self.done)
            self.restart()
        if self._digester is None:
            self._digester = self._wanted.digester()
        advance(self._digester, path, on_bytes)

    def restart(self) -> None:
        """Forget what was read."""
        self._digester = self._file = None

    def finish(self, path: Path, on_bytes: OnBytes) -> FileDigests:
        """Read what is left."""
        if not self._is_same(path):
            on_bytes(-self.done)
            self.restart()
        begun, self._digester = self._digester, None
        return self._wanted.hash(path, on_bytes, begun)

    def close(self) -> None:
        """Keep nothing that was read."""
        self._digester = None

    def _is_same(self, path: Path) -> bool:
        """Tell whether a path leads to the file that was read, if any was."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return True
        before, self._file = self._file, (found.st_dev, found.st_ino)
        return before in {None, self._file}


class ProcessFollower:
    """Has a process hash, which is started once there is something to hash; where it fails, the file is read anew."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._thread = ThreadPoolExecutor(1, "follow")  # that waits for its answers
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
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
        """Whether it was asked for anything."""
        return self._asked is not None or self._done > 0

    def advance(self, path: Path, on_bytes: OnBytes) -> None:
        """Have it go on, unless it is at that; waits for nothing."""
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
        pieces, rows = SIZES.unpack_from(answer)
        whole, rest = answer[SIZES.size : SIZES.size + 32], answer[SIZES.size + 32 :]
        hashes = FileHashes.of_pieces(rest[:pieces], rest[pieces : pieces + rows], self._wanted.piece_length, size=done)
        return FileDigests(done, Sha256(whole), None, hashes, None, Look.of_stat(after))

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
                self._process = _started(self._wanted)
            process = self._process
        assert process.stdin is not None  # noqa: S101 - pipes
        assert process.stdout is not None  # noqa: S101
        line = json.dumps([os.fspath(path.absolute()), is_whole]).encode() + b"\n"
        process.stdin.write(line)
        process.stdin.flush()
        begin = sha256(line).digest()
        head = process.stdout.read(len(begin) + DONE.size)
        if len(head) != len(begin) + DONE.size or not head.startswith(begin):
            raise BrokenPipeError("the process that hashes a file has ended, or something else writes where it does")
        (done,) = DONE.unpack_from(head, len(begin))
        if not is_whole:
            return done, b""
        sizes = process.stdout.read(SIZES.size)
        size = 32 + sum(SIZES.unpack(sizes)) if len(sizes) == SIZES.size else -1
        if len(answer := process.stdout.read(max(0, size))) != size:
            raise BrokenPipeError("the process that hashes a file has ended in its answer")
        return done, sizes + answer

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        if self._asked is not None:
            wait([self._asked])  # it reads from a pipe, and may not be closed under its hands
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # noqa: S101 - pipes
            with suppress(OSError):  # what it was asked and never read
                pipe.close()
        process.wait()


def _started(wanted: Wanted) -> subprocess.Popen[bytes]:
    """Start a process that hashes one file; raises `OSError`."""
    process = subprocess.Popen(
        python("-m", "p2pqwen.library.follow_child"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us, and it ends when we do
    )
    assert process.stdin is not None  # noqa: S101 - a pipe
    process.stdin.write(json.dumps([wanted.piece_length, wanted.padded]).encode() + b"\n")
    return process
