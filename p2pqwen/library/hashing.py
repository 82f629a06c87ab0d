"""Read a file and feed every digest: whole SHA-256, git blob id, v1 pieces, v2 leaves.

Child processes hash a large file (`spare_cores`). If they cannot, it is read here.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.library.durable import disk_error, disk_errors
from p2pqwen.library.hash_child import OtherFileError
from p2pqwen.library.run_child import READ_SIZE, Run, identity
from p2pqwen.library.spare_cores import SPARE, digest_file
from p2pqwen.library.verified import Look
from p2pqwen.manifest.git_object import blob_hasher, blob_oid
from p2pqwen.manifest.git_sha1 import refused
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, Pointer, parse_pointer
from p2pqwen.portable.cores import usable_cores
from p2pqwen.portable.files import open_plain_descriptor, open_plain_raw, prefix_of
from p2pqwen.portable.process import is_thread_idle
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher, SmallFile, hash_small, steps
from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.repo_path import RepoPath

MAX_KEPT = 16 << 20
"""Bytes of a plain file that are kept in memory while it is hashed: more than the Hub accepts."""

SPREAD_FROM = 128 << 20
"""Bytes that take half a second to hash on one core. A process takes 0.1 seconds to start."""
SMALL_IN_JOB = 64
"""Files of at most one read that are hashed in one job: handing out each one costs more than hashing it."""
SMALL_BYTES_IN_JOB = 4 * READ_SIZE
"""Bytes of small files that are hashed in one job: they are in memory together."""

NO_HASHES = FileHashes(0, b"", None, b"")

OnBytes = Callable[[int], None]


class FileChangedError(VerificationError):
    """A file changed while it was read, so that no digest of it means anything."""


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Every digest of one file's content.

    `git_blob` is the blob id of the content itself, not of an LFS pointer; None if it was not asked for. `hashes` is
    then likewise `NO_HASHES`. `pointer`: the content *is* an LFS pointer, to this object. No hash shows that, so it is
    reported wherever a file is read; `operations.file_check` refuses such a file. `look`: how the file looked while it
    was read, None if it was still being written.
    """

    size: int
    sha256: Sha256
    git_blob: GitOid | None
    hashes: FileHashes
    pointer: Pointer | None
    look: Look | None = field(default=None, compare=False)


class Digester:
    """Feeds a file's bytes, in order, to every digest that is wanted.

    `size`: bytes, which git puts before a blob. `piece_length`: None for no torrent hashes. `padded`: a pad file
    follows in the torrent, so the last v1 piece covers its zeros. `git_blob`: the blob id is wanted.
    """

    def __init__(
        self,
        size: int,
        *,
        piece_length: int | None,
        padded: bool,
        git_blob: bool,
    ) -> None:
        self.size = size
        self.done = 0
        self._whole = hashlib.sha256()
        self._git_blob = git_blob
        # Git's own hash takes a file whole: a small one is kept in memory, a large one is read a second time.
        self._kept = bytearray() if size <= (MAX_KEPT if git_blob else MAX_POINTER_SIZE) else None
        self._blob = blob_hasher(size) if git_blob and self._kept is None else None
        self._pieces = None if piece_length is None else PieceHasher(piece_length, padded=padded)

    def update(self, chunk: memoryview) -> None:
        """Take the next bytes."""
        for part in steps(chunk):
            self._whole.update(part)
            if self._pieces is not None:
                self._pieces.update(part)
            if self._blob is not None:
                self._blob.update(part)
        if self._kept is not None:
            self._kept += chunk
        self.done += len(chunk)

    def finish(self, location: Path) -> FileDigests:
        """Return the digests of what was fed, which is the file at `location`. The digester cannot be used again.

        Raises `CollisionAttackError`, and `FileChangedError` if a large plain file now reads differently.
        """
        hashes = NO_HASHES if self._pieces is None else self._pieces.finish()
        content = None if self._kept is None else bytes(self._kept)
        pointer = None if content is None else parse_pointer(content)
        blob = self._blob_id(content, location) if self._git_blob else None
        return FileDigests(self.done, Sha256(self._whole.digest()), blob, hashes, pointer)

    def _blob_id(self, content: bytes | None, location: Path) -> GitOid:
        if self._blob is None:
            return blob_oid(content or b"")
        if (streamed := GitOid(self._blob.digest())) != _checked_blob_id(location):
            raise changed(location)
        return streamed


def _checked_blob_id(path: Path) -> GitOid:
    """Return the blob id of a file by git's own SHA-1, which looks for collision attacks (`manifest.git_sha1`)."""
    from pygit2 import GitError, hashfile  # noqa: PLC0415 - seldom needed: the Hub accepts no plain file above 10 MB

    try:
        with disk_errors(f"read {path}"):
            return GitOid(hashfile(str(path)).raw)
    except GitError as error:
        raise refused(f"the plain file {path}", error) from error


def feed_appended(digester: Digester, path: Path, on_bytes: OnBytes | None = None) -> None:
    """Feed what was appended to a growing file; a missing file is no error."""
    try:
        with open_plain_raw(path) as file:
            if os.fstat(file.fileno()).st_size >= digester.done:
                _feed(file, digester, on_bytes)
    except FileNotFoundError:
        return


def hash_file(
    path: Path,
    *,
    piece_length: int,
    padded: bool,
    git_blob: bool = True,
    on_bytes: OnBytes | None = None,
    begun: Digester | None = None,
) -> FileDigests:
    """Read `path` once, or what is left of it after `begun`; arguments as for `Digester`.

    Raises `DiskError`, and `FileChangedError` if its size, inode or modification time changes meanwhile. Memory: one
    read buffer and one piece's leaves.
    """
    with disk_errors(f"read {path}"):
        if begun is None and (small := _read_small(str(path), piece_length, git_blob=git_blob)) is not None:
            if small.data and on_bytes is not None:
                on_bytes(len(small.data))
            return _digest_small([_Padded(small, padded)], piece_length)[0]
        file = open_plain_raw(path)
    with disk_errors(f"read {path}"), file:
        before = os.fstat(file.fileno())
        counter = _Counter(on_bytes)
        # A process that an idle thread starts would be idle too, and would be kept for other files.
        if begun is None and not git_blob and before.st_size >= max(SPREAD_FROM, piece_length) and not is_thread_idle():
            run = Run(str(path.absolute()), identity(before), piece_length, 0, before.st_size)
            if (found := _by_processes(run, padded=padded, counter=counter)) is not None:
                return replace(found, look=Look.of_stat(before))
        digester = begun or Digester(before.st_size, piece_length=piece_length, padded=padded, git_blob=git_blob)
        with SPARE.reading():
            _feed(file, digester, counter)
            digests = digester.finish(path)
        after = os.fstat(file.fileno())
    if digester.done != before.st_size or identity(before) != identity(after):
        raise changed(path)
    return replace(digests, look=Look.of_stat(after))


def digest_content(data: bytes, *, git_blob: bool) -> FileDigests:
    """Return the digests of content that is in memory, without torrent hashes and look.

    Raises `CollisionAttackError`.
    """
    blob = blob_oid(data) if git_blob else None
    return FileDigests(len(data), Sha256.of(data), blob, NO_HASHES, parse_pointer(data))


class _Small(NamedTuple):
    """A small file as it was read, and its digests other than the torrent hashes."""

    data: bytes
    look: Look
    git_blob: GitOid | None
    pointer: Pointer | None


def _read_small(path: str, piece_length: int, *, git_blob: bool) -> _Small | None:
    """Read a file that is shorter than a piece and fits into one read; None for a larger file.

    Raises `OSError`, `FileChangedError`, `CollisionAttackError`.
    """
    descriptor, before = open_plain_descriptor(path)
    try:
        size = before.st_size
        if size > min(READ_SIZE, MAX_KEPT, piece_length - 1):
            return None
        data = os.read(descriptor, size)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if len(data) != size or identity(before) != identity(after):
        raise changed(Path(path))
    return _Small(data, Look.of_stat(after), blob_oid(data) if git_blob else None, parse_pointer(data))


class _Padded(NamedTuple):
    """A small file with the fields that `SmallFile` needs."""

    file: _Small
    padded: bool
    v1: bool = True


def _digest_small(files: Sequence[_Padded], piece_length: int) -> list[FileDigests]:
    small = [SmallFile(file.data, Sha256.of(file.data), padded, v1) for file, padded, v1 in files]
    return [
        FileDigests(len(file.data), of.sha256, file.git_blob, hashes, file.pointer, file.look)
        for (file, _, _), of, hashes in zip(files, small, hash_small(small, piece_length), strict=True)
    ]


def _by_processes(file: Run, *, padded: bool, counter: _Counter) -> FileDigests | None:
    """Have processes hash a large file; None if they cannot, and it must be read here.

    Raises `FileChangedError`, `OSError`, and what `counter` raises.
    """
    try:
        found = digest_file(file, padded=padded, spare=SPARE, on_bytes=counter)
    except (OSError, OtherFileError):
        found = None  # if the file is the reason, the next reader gets the same error
    counter.begin_again()
    path = Path(file.path)
    with suppress(FileNotFoundError):
        if identity(path.stat()) == file.identity:
            return None if found is None else FileDigests(file.stop, found[0], None, found[1], None)
    raise changed(path)


class _Counter:
    """Reports each byte once, even if it is read twice."""

    def __init__(self, on_bytes: OnBytes | None) -> None:
        self._on_bytes, self._told, self._at = on_bytes, 0, 0

    def __call__(self, count: int) -> None:
        self._at += count
        if (new := self._at - self._told) > 0:
            self._told = self._at
            if self._on_bytes is not None:
                self._on_bytes(new)

    def begin_again(self) -> None:
        """Note that the file is read from its beginning again."""
        self._at = 0


def changed(path: Path) -> FileChangedError:
    """Return the error of a file that changed while it was read."""
    return FileChangedError(
        f"{path} changed while it was read",
        hint="wait until the program that writes to it has finished, then try again",
    )


def _feed(file: FileIO, digester: Digester, on_bytes: OnBytes | None) -> None:
    """Feed the bytes after those already fed, up to one byte past the file's expected size."""
    file.seek(digester.done)
    # A file that keeps growing would never end; one byte too many is enough to see that it grows.
    buffer = memoryview(bytearray(min(READ_SIZE, digester.size + 1)))
    while digester.done <= digester.size and (count := file.readinto(buffer)):
        digester.update(buffer[:count])
        if on_bytes is not None:
            on_bytes(count)


def hash_files(
    folder: Path,
    layout: Layout,
    *,
    only: Collection[RepoPath] | None = None,
    lfs: Collection[RepoPath] = (),
    v1_known: Collection[str] = (),
    on_bytes: OnBytes | None = None,
    on_error: Callable[[RepoPath, P2pqwenError], None] | None = None,
) -> Mapping[RepoPath, FileDigests]:
    """Hash the files of a layout below `folder`, or `only` some, the largest first, several at once.

    `lfs` files need no git blob id. The paths in `v1_known` need no v1 piece hash if they are shorter than a piece: see
    `SmallFile`. Raises `FileChangedError` or `DiskError` of the first file that fails, unless `on_error` takes the
    errors; files that fail are left out of the result.
    """
    chosen = [index for index, file in enumerate(layout.files) if only is None or file.path in only]
    digest = _FolderHasher(folder, layout, lfs, v1_known, _locked(on_bytes)).digest
    digests: dict[RepoPath, FileDigests] = {}
    with SPARE.in_use(), ThreadPoolExecutor(hash_workers(), "hash") as pool:
        futures = {pool.submit(digest, indexes): indexes for indexes in _jobs(layout, chosen)}
        for future in as_completed(futures):
            for index, found in zip(futures[future], future.result(), strict=True):
                path = layout.files[index].path
                if isinstance(found, FileDigests):
                    digests[path] = found
                elif on_error is not None:
                    on_error(path, found)
                else:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise found
    return digests


class _FolderHasher:
    """Hashes files of a layout below a folder; several threads use it at once."""

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        lfs: Collection[RepoPath],
        v1_known: Collection[str],
        on_bytes: OnBytes,
    ) -> None:
        self._root, self._layout, self._lfs, self._on_bytes = prefix_of(folder), layout, lfs, on_bytes
        self._v1_known = v1_known

    def digest(self, indexes: Sequence[int]) -> list[FileDigests | P2pqwenError]:
        """Return the digests of each file, or the error that it failed with."""
        if len(indexes) == 1:
            return [self._one(indexes[0], self._on_bytes)]
        sizes: list[int] = []  # of many small files, only the sum is reported
        found = self._many(indexes, sizes.append)
        try:
            self._on_bytes(sum(sizes))
        except P2pqwenError as error:
            return [error] * len(indexes)
        return [found[index] for index in indexes]

    def _one(self, index: int, on_bytes: OnBytes) -> FileDigests | P2pqwenError:
        path = self._layout.files[index].path
        try:
            return hash_file(
                Path(self._root + path.text),
                piece_length=self._layout.piece_length,
                padded=self._layout.pad_after(index) > 0,
                git_blob=path not in self._lfs,
                on_bytes=on_bytes,
            )
        except P2pqwenError as error:
            return error

    def _many(self, indexes: Sequence[int], on_bytes: OnBytes) -> Mapping[int, FileDigests | P2pqwenError]:
        found: dict[int, FileDigests | P2pqwenError] = {}
        small: dict[int, _Padded] = {}
        for index in indexes:
            read = self._read(index)
            if isinstance(read, _Small):
                v1 = self._layout.files[index].path.text not in self._v1_known
                small[index] = _Padded(read, self._layout.pad_after(index) > 0, v1)
                on_bytes(len(read.data))
            else:
                found[index] = self._one(index, on_bytes) if read is None else read
        found.update(zip(small, _digest_small(list(small.values()), self._layout.piece_length), strict=True))
        return found

    def _read(self, index: int) -> _Small | P2pqwenError | None:
        path = self._layout.files[index].path
        name = self._root + path.text
        try:
            return _read_small(name, self._layout.piece_length, git_blob=path not in self._lfs)
        except OSError as error:
            return disk_error(f"read {name}", error)
        except P2pqwenError as error:
            return error


def _jobs(layout: Layout, indexes: Iterable[int]) -> Iterator[Sequence[int]]:
    """Yield the files by size, the largest first: each large file alone, the small ones many at a time."""
    small: list[int] = []
    size = 0
    for index in sorted(indexes, key=lambda index: -layout.files[index].size):
        if layout.files[index].size > READ_SIZE:
            yield [index]
            continue
        small.append(index)
        size += layout.files[index].size
        if len(small) == SMALL_IN_JOB or size >= SMALL_BYTES_IN_JOB:
            yield small
            small, size = [], 0
    if small:
        yield small


def hash_workers() -> int:
    """Return how many files to hash at once: one for each core we may use."""
    return usable_cores()


def _locked(on_bytes: OnBytes | None) -> OnBytes:
    if on_bytes is None:
        return lambda _: None
    lock = threading.Lock()

    def count(size: int) -> None:
        with lock:
            on_bytes(size)

    return count
