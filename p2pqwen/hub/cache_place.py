"""The only way in which p2pqwen changes a Hugging Face cache: never through a symbolic link.

Several users may share the cache, and another user may place links in it that lead to our files. So every folder made,
file written and file removed goes through a `CachePlace`, which first checks each folder on the way. The last component
is not checked: a rename replaces a link, a removal removes it, and a new file is never written through one. The check
and the change are two steps, so this does not stop somebody who swaps a folder in between.

Two links are the user's own choice and are followed: the cache itself, and a repository's folder (or `.locks`) that
the user or the administrator moved to another disk. Such a link is refused if it belongs to another user.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from p2pqwen.portable.owners import is_ours

LINKED = "a symbolic link is in the way, and p2pqwen writes through none"
_ADMINISTRATOR = 0
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT; a OneDrive folder has another tag and is no link


class CachePlace:
    """Write access below the root of one cache. Methods raise `OSError`; `ELOOP` names a link in the way."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def require_plain(self, path: Path) -> None:
        """Raise `OSError` if a folder between the root and `path` is a symbolic link or a Windows junction."""
        here = self._root
        for depth, part in enumerate(path.relative_to(self._root).parts[:-1]):
            here /= part
            try:
                found = here.lstat()
            except FileNotFoundError:
                return
            if _leads_on(found) and not (depth == 0 and (is_ours(found) or found.st_uid == _ADMINISTRATOR)):
                raise OSError(errno.ELOOP, LINKED, str(here))

    def make_root(self, tag: str, text: str) -> None:
        """Make the cache folder; a new one gets a file `tag`, an existing one is left unchanged."""
        try:
            self._root.mkdir(parents=True)
        except FileExistsError:
            if not self._root.is_dir():
                raise
            return
        self.write_new(self._root / tag, text)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its parents if they are missing."""
        self.require_plain(folder / "in it")
        folder.mkdir(parents=True, exist_ok=True)

    def make_lock_folder(self, lock: Path) -> None:
        """Make a lock file's folder; the file must be no link either, since taking the lock opens it for writing."""
        self.make_folder(lock.parent)
        if lock.is_symlink():
            raise OSError(errno.ELOOP, LINKED, str(lock))

    def write_new(self, path: Path, text: str = "") -> None:
        """Write a file that is not there yet."""
        self.require_plain(path)
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)

    def fill_new(self, path: Path, fill: Callable[[Path], object]) -> None:
        """Have `fill` make a file that is not there yet."""
        self.require_plain(path)
        if os.path.lexists(path):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        fill(path)

    def link(self, path: Path, to: str) -> None:
        """Make a symbolic link, as in snapshot folders."""
        self.require_plain(path)
        path.symlink_to(to)

    def replace(self, temporary: Path, target: Path) -> None:
        """Rename a file to its final name, replacing what is there."""
        self.require_plain(temporary)
        self.require_plain(target)
        temporary.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file or a link, if it is there."""
        self.require_plain(path)
        path.unlink(missing_ok=True)

    def remove_empty(self, path: Path) -> None:
        """Remove an empty regular file; anything else is not a marker of huggingface_hub's and stays."""
        self.require_plain(path)
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            raise OSError(errno.EINVAL, "it is not an empty file", str(path))
        path.unlink()


def _leads_on(found: os.stat_result) -> bool:
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION
