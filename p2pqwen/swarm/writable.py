"""What a download may write to: files that only it uses, proven on the disk.

The rule: a writer that we do not trust never has a file open for writing that has a second name. What a torrent writes
is judged by that torrent's own hashes, which a stranger made. Through a shared inode the bytes would reach every
snapshot, cache and folder that names it. So `Swarm.add_download` takes a `WritableFiles`, which only `prove_writable`
makes. That checks that each file is absent, or a regular file with one name, and that no symlink leads to it.
libtorrent is not told the paths of the torrent's other files (`params.hide_others`), so it cannot open them. Files that
share bytes with others are put in place by us, after the torrent has left the session.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.errors import DiskError
from p2pqwen.portable.files import prefix_of
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath, on_the_way

_PROOF = object()
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class SharedFileError(DiskError):
    """A file that a download would write to may share its bytes with others."""

    def __init__(self, path: str, got: str) -> None:
        super().__init__(
            f"{path} is not written to: other names may share its bytes",
            expected="no file, or one with a single name and no link to it",
            got=got,
            hint="move it away and try again",
        )


@dataclass(frozen=True, slots=True)
class WritableFiles:
    """Files of one torrent below `save_path/<name>/` that may be written to; only `prove_writable` makes it."""

    infohash: InfoHash
    save_path: Path
    files: frozenset[RepoPath]
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proof is not _PROOF:
            raise TypeError("only prove_writable makes this")


def prove_writable(metainfo: Metainfo, save_path: Path, files: Collection[RepoPath] | None = None) -> WritableFiles:
    """Check every file that a download of `files` (None: all) would write to.

    Raises `SharedFileError` if one has a second name, is not a regular file, or is reached through a symlink below
    `save_path`; `DiskError` if that cannot be determined.
    """
    chosen = frozenset(file.path for file in metainfo.files if files is None or file.path in files)
    folder = save_path / metainfo.name
    if chosen:
        _check(str(folder), is_folder=True)
    root = prefix_of(folder)
    for name, is_file in on_the_way(chosen):
        _check(root + name, is_folder=not is_file)
    return WritableFiles(metainfo.infohash, save_path, chosen, _PROOF)


def _check(path: str, *, is_folder: bool) -> None:
    try:
        found = os.lstat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return
        raise DiskError(f"cannot look at {path}", got=error.strerror or str(error)) from error
    if stat.S_ISLNK(found.st_mode):
        raise SharedFileError(path, "a symlink")
    if is_folder and not stat.S_ISDIR(found.st_mode):
        raise SharedFileError(path, "something other than a folder")
    if not is_folder and not stat.S_ISREG(found.st_mode):
        raise SharedFileError(path, "something other than a regular file")
    if not is_folder and found.st_nlink > 1:
        raise SharedFileError(path, f"a file with {found.st_nlink} names")
