"""Read a file once and feed every digest: whole SHA-256, git blob id, v1 pieces, v2 leaves."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.library.durable import disk_errors
from p2pqwen.manifest.git_object import blob_hasher
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.repo_path import RepoPath

# Small enough to stay in a core's cache while four digests pass over it, large enough to keep the calls cheap.
READ_SIZE = 256 * 1024

OnBytes = Callable[[int], None]


class FileChangedError(VerificationError):
    """A file changed while it was read, so that no digest of it means anything."""


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Every digest of one file's content.

    `git_blob` is the blob id of the content itself (not of an LFS pointer), None where it was not asked for.
    """

    size: int
    sha256: Sha256
    git_blob: GitOid | None
    hashes: FileHashes


def hash_file(
    path: Path, *, piece_length: int, padded: bool, git_blob: bool = True, on_bytes: OnBytes | None = None
) -> FileDigests:
    """Read `path` once. `padded`: a pad file follows it in the torrent, so its last v1 piece covers the zeros.

    Raises `FileChangedError` when its size, inode or modification time moves meanwhile, `DiskError`.
    Memory: one read buffer and one piece's leaves.
    """
    with disk_errors(f"read {path}"), path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        whole, blob = hashlib.sha256(), blob_hasher(before.st_size) if git_blob else None
        pieces = PieceHasher(piece_length, padded=padded)
        buffer = memoryview(bytearray(READ_SIZE))
        size = 0
        while size <= before.st_size and (count := file.readinto(buffer)):  # one that only grows would never end
            chunk = buffer[:count]
            whole.update(chunk)
            pieces.update(chunk)
            if blob is not None:
                blob.update(chunk)
            size += count
            if on_bytes is not None:
                on_bytes(count)
        after = os.fstat(file.fileno())
    if size != before.st_size or _identity(before) != _identity(after):
        raise FileChangedError(
            f"{path} changed while it was read", hint="let whatever writes to it finish, then try again"
        )
    blob_oid = None if blob is None else GitOid(blob.digest())
    return FileDigests(size, Sha256(whole.digest()), blob_oid, pieces.finish())


def hash_files(
    folder: Path,
    layout: Layout,
    *,
    only: Collection[RepoPath] | None = None,
    lfs: Collection[RepoPath] = (),
    workers: int | None = None,
    on_bytes: OnBytes | None = None,
    on_error: Callable[[RepoPath, P2pqwenError], None] | None = None,
) -> Mapping[RepoPath, FileDigests]:
    """Hash the files of a layout below `folder`, or `only` some, the largest first, several at once.

    `lfs` files need no git blob id. Raises `FileChangedError`, `DiskError` of the first file that fails, unless
    `on_error` takes them; such a file is left out of the result.
    """
    chosen = [index for index, file in enumerate(layout.files) if only is None or file.path in only]
    counter = _locked(on_bytes)
    digests: dict[RepoPath, FileDigests] = {}
    with ThreadPoolExecutor(workers or hash_workers(), "hash") as pool:
        futures = {
            pool.submit(
                hash_file,
                folder / layout.files[index].path.text,
                piece_length=layout.piece_length,
                padded=layout.pad_after(index) > 0,
                git_blob=layout.files[index].path not in lfs,
                on_bytes=counter,
            ): layout.files[index].path
            for index in sorted(chosen, key=lambda index: -layout.files[index].size)
        }
        for future in as_completed(futures):
            try:
                digests[futures[future]] = future.result()
            except P2pqwenError as error:
                if on_error is None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                on_error(futures[future], error)
    return digests


def hash_workers() -> int:
    """Return how many files are hashed at once: one for each core we may use."""
    return len(os.sched_getaffinity(0))


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_ino, stat.st_dev, stat.st_size, stat.st_mtime_ns


def _locked(on_bytes: OnBytes | None) -> OnBytes | None:
    if on_bytes is None:
        return None
    lock = threading.Lock()

    def count(size: int) -> None:
        with lock:
            on_bytes(size)

    return count
