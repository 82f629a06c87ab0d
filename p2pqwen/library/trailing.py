"""Hash files while another program writes them, a little behind the writer, from the page cache.

The writer (libtorrent) reports a piece as soon as its hash is right. That was measured to be up to a third of a second
before its bytes are in the file. A region that was never written is a hole in a sparse file, so a reader waits at a
hole. Systems and file systems that do not report holes answer "no hole". A digest can then be wrong, and the caller
hashes the finished file again (`library.hashing.hash_file`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from p2pqwen.library.durable import disk_error, disk_errors
from p2pqwen.library.early_sync import SYNC_EVERY, EarlySync
from p2pqwen.library.hashing import SMALL_IN_JOB, Digester, FileDigests, digest_content, hash_workers
from p2pqwen.library.run_child import READ_SIZE
from p2pqwen.portable.files import hole_after, open_plain_descriptor, open_plain_raw
from p2pqwen.portable.process import let_others_first
from p2pqwen.values.repo_path import RepoPath

_LOOK_AGAIN = 0.02  # seconds, for a hole that the writer has yet to fill


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class GrowingFile:
    """A file being downloaded to `location`: `pieces` are the torrent's that contain it, each `piece_length` bytes.

    `git_blob`: the blob id is wanted. `hashes`: the torrent hashes are wanted; `padded` as in `PieceHasher`.
    """

    path: RepoPath
    location: str
    size: int
    pieces: range
    piece_length: int
    git_blob: bool
    hashes: bool = False
    padded: bool = False

    @property
    def is_small(self) -> bool:
        """Whether it is in one piece, can be read at once, and needs no torrent hashes."""
        return 0 < self.size <= min(READ_SIZE, self.piece_length) and not self.hashes


class TrailingHasher:
    """Hashes files in order on a few threads; a context manager that ends them.

    `have` has one byte for each piece of the torrent, 1 once the piece is there. Call `arrived` after it changes, and
    `written` once every byte of those pieces is in its file.
    """

    def __init__(self, files: Sequence[GrowingFile], have: bytearray, *, workers: int | None = None) -> None:
        self._files = files
        self._have = have
        self._news = threading.Condition()
        self._all_written = False
        self._stopped = False
        # The threads that move the bytes go first; otherwise, on few cores, the download waits for its own digests.
        self._pool = ThreadPoolExecutor(workers or hash_workers(), "trailing-hash", let_others_first)
        self._early_sync = EarlySync()
        self._futures: list[Future[dict[RepoPath, FileDigests]]] = []
        self._hashed: dict[RepoPath, int] = {}  # each row is written by one thread

    def __enter__(self) -> Self:
        self._futures += [self._pool.submit(self._hash_all, files) for files in _jobs(self._files)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._stopped = True
            self._news.notify_all()
        self._pool.shutdown(cancel_futures=True)
        self._early_sync.__exit__(kind, error, trace)

    def arrived(self) -> None:
        """Tell the readers that `have` may have changed."""
        with self._news:
            self._news.notify_all()

    def written(self) -> None:
        """Tell the readers that every piece in `have` is in the files: a hole is now content."""
        with self._news:
            self._all_written = True
            self._news.notify_all()

    @property
    def bytes_hashed(self) -> int:
        """Bytes hashed so far."""
        return sum(list(self._hashed.values()))

    @property
    def done(self) -> bool:
        """Whether every file was hashed, or failed."""
        return all(future.done() for future in self._futures)

    def results(self, on_wait: Callable[[], None] = lambda: None) -> dict[RepoPath, FileDigests]:
        """Wait for every file's digests, and until the large files are on the disk; call after `written`.

        Raises `DiskError`.
        """
        found: dict[RepoPath, FileDigests] = {}
        for future in self._futures:
            hashed = _wait_for(future, on_wait)
            found.update(hashed)
        self._early_sync.wait(on_wait)
        return found

    def _hash_all(self, files: Sequence[GrowingFile]) -> dict[RepoPath, FileDigests]:
        """Return the digests of the files that can be hashed."""
        found = ((file.path, self._hash_small(file) if file.is_small else self._hash(file)) for file in files)
        return {path: digests for path, digests in found if digests is not None}

    def _hash_small(self, file: GrowingFile) -> FileDigests | None:
        """Do the same as `_hash` for a small file, in one read and with few objects: there may be very many."""
        piece, location = file.pieces.start, file.location
        if not self._have[piece] and not self._wait_for(lambda: self._have[piece]):
            return None
        if not os.path.exists(location) and not self._wait_for(lambda: os.path.exists(location)):  # noqa: PTH110
            return None
        try:
            descriptor, _ = open_plain_descriptor(location)
            try:
                while not self._all_written and hole_after(descriptor, 0) < file.size:
                    if not self._look_again():
                        return None
                content = os.read(descriptor, file.size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error(f"read {location}", error) from error
        if len(content) != file.size or self._stopped:
            return None
        self._hashed[file.path] = file.size
        return digest_content(content, git_blob=file.git_blob)

    def _hash(self, file: GrowingFile) -> FileDigests | None:
        location = Path(file.location)
        digests = Digester(
            file.size,
            piece_length=file.piece_length if file.hashes else None,
            padded=file.padded,
            git_blob=file.git_blob,
        )
        if file.size:
            if not self._wait_for(lambda: self._have[file.pieces[0]] and location.exists()):
                return None
            with disk_errors(f"read {location}"), open_plain_raw(location) as opened:
                if not self._follow(file, opened, digests):
                    return None
            if file.size > READ_SIZE:  # small files are synced together, before they are marked as complete
                self._early_sync.begin(location)
        return digests.finish(location)

    def _follow(self, file: GrowingFile, opened: FileIO, digests: Digester) -> bool:
        """Feed the whole file to its digests; False if stopped, or if the file is shorter than it should be."""
        buffer = memoryview(bytearray(min(READ_SIZE, file.size)))
        offset = synced = 0
        while offset < file.size:
            end = self._readable(file, opened.fileno(), offset)
            if end is None:
                return False
            while offset < end:
                count = opened.readinto(buffer[: min(READ_SIZE, end - offset)])
                if not count or self._stopped:
                    return False
                digests.update(buffer[:count])
                offset += count
                self._hashed[file.path] = offset
                if offset - synced >= SYNC_EVERY:
                    self._early_sync.begin(Path(file.location))
                    synced = offset
        return True

    def _readable(self, file: GrowingFile, descriptor: int, offset: int) -> int | None:
        """Wait until the bytes from `offset` on are in the file; return where they end, None if stopped."""
        piece = file.pieces[offset // file.piece_length]
        if not self._wait_for(lambda: self._have[piece]):
            return None
        while True:
            last = piece
            while last + 1 < file.pieces.stop and self._have[last + 1]:
                last += 1
            end = min(file.size, (last + 1 - file.pieces.start) * file.piece_length)
            if self._all_written:
                return end
            end = min(end, hole_after(descriptor, offset))
            if end > offset:
                return end
            if not self._look_again():
                return None

    def _look_again(self) -> bool:
        """Wait briefly for a hole to be filled; False if stopped."""
        with self._news:
            if not self._stopped:
                self._news.wait(_LOOK_AGAIN)
            return not self._stopped

    def _wait_for(self, condition: Callable[[], object]) -> bool:
        with self._news:
            while not condition():
                if self._stopped or self._all_written:
                    return False
                self._news.wait()
            return not self._stopped


def _jobs(files: Sequence[GrowingFile]) -> Iterator[Sequence[GrowingFile]]:
    """Yield the files in order, each alone, except that consecutive small ones come many at a time."""
    small: list[GrowingFile] = []
    for file in files:
        if file.size <= READ_SIZE and len(small) < SMALL_IN_JOB:
            small.append(file)
            continue
        if small:
            yield small
        small = [file] if file.size <= READ_SIZE else []
        if not small:
            yield [file]
    if small:
        yield small


def _wait_for(future: Future[Result], on_wait: Callable[[], None]) -> Result:
    while True:
        with contextlib.suppress(TimeoutError):
            return future.result(timeout=0.1)
        on_wait()
