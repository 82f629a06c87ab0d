"""huggingface_hub's store of files that the repositories of one cache share by their Xet hash.

    <root>/blobs/.huggingface-shared-blobs    "1" and a newline: without it the folder is somebody else's
    <root>/blobs/<2 digits>/<Xet hash>        content, a regular file
    <root>/blobs/<2 digits>/<Xet hash>.refs   the blobs of repositories that lead there, one a line
    <root>/blobs/<2 digits>/<Xet hash>.lock   taken around every change

Followed: utils/_shared_blobs.py of huggingface_hub 2.4.0, whose own locks, marker and lists are used. It believes what
lies there by name and size. So what we lay is named by a hash that was made of the very bytes, and what lies there is
read before it is believed. A file is never written to in place: a damaged one is replaced by a rename, which mends it
for every repository that leads there.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub.utils import _shared_blobs as theirs

from p2pqwen.hub.cache_place import CachePlace

Right = Callable[[Path], bool]
"""Tell whether a file has the content that is wanted, by reading it."""


def sharing_is_on() -> bool:
    """Whether the user lets huggingface_hub use the store."""
    return theirs.shared_blobs_enabled()


class SharedBlobs:
    """The store of one cache. Every change goes through its `CachePlace`; methods raise nothing but where they say."""

    def __init__(self, root: Path, cache: CachePlace) -> None:
        self._root, self._cache = root, cache

    def find(self, xet_hash: str) -> Path | None:
        """Return where a file is, if the store is one and has it; nobody has read it."""
        with suppress(ValueError, OSError):
            path = theirs.shared_blob_path(self._root, xet_hash)
            if sharing_is_on() and theirs.is_shared_blobs_dir(path.parent.parent) and _is_regular(path):
                return path
        return None

    def lead(self, blob: Path, xet_hash: str, right: Right, temporary: Path) -> bool:
        """Have a repository's blob lead to what is in the store, if that is right; tell whether it does now."""
        store = self.find(xet_hash)
        if store is None:
            return False
        with suppress(OSError):
            self._cache.require_plain(store)
            with theirs._shared_blob_lock(store):  # noqa: SLF001 - the lock that huggingface_hub takes
                if _is_regular(store) and right(store):
                    self._link(blob, store, temporary)
                    return True
        return False

    def share(self, blob: Path, xet_hash: str, right: Right, temporary: Path, *, mends: bool) -> bool:
        """Move a blob that was just laid into the store; tell whether a damaged file there was mended by that.

        `mends`: one may be. Where anything is in the way the blob stays the repository's own. Raises `OSError` where
        that cannot be had either.
        """
        store = theirs.shared_blob_path(self._root, xet_hash)
        with suppress(OSError):
            self._cache.require_plain(store)
            folder = theirs._ensure_prefix_dir(self._root, xet_hash)  # noqa: SLF001 - makes and marks the store
            if folder is None or theirs._relative_blob_path(blob, self._root) is None:  # noqa: SLF001
                return False
            with theirs._shared_blob_lock(store):  # noqa: SLF001 - as above
                stood = os.path.lexists(store)
                if stood and _is_regular(store) and right(store):
                    self._link(blob, store, temporary)
                    return False
                if stood and not mends:
                    return False
                self._move(blob, store, folder, temporary)
                return stood
        return False

    def _move(self, blob: Path, store: Path, folder: Path, temporary: Path) -> None:
        if blob.stat().st_nlink == 1:  # else it is the library's file too, whose mode is its own affair
            theirs._prepare_shared_blob_permissions(blob, folder, self._root)  # noqa: SLF001
        self._cache.replace(blob, store)
        try:
            self._link(blob, store, temporary)
        except OSError:
            self._cache.fill_new(blob, lambda path: shutil.copyfile(store, path))
            raise

    def _link(self, blob: Path, store: Path, temporary: Path) -> None:
        """Make the link, after it is on the list of those that keep the file."""
        listed = theirs._relative_blob_path(blob, self._root)  # noqa: SLF001
        if listed is None:
            raise OSError(f"{blob} is no blob of a repository")
        theirs._append_manifest_reference(theirs._manifest_path_for_store_path(store), listed)  # noqa: SLF001
        self._cache.link(temporary, os.path.relpath(store, blob.parent))
        self._cache.replace(temporary, blob)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
