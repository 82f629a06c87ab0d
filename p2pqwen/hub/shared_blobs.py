"""huggingface_hub's store of files that the repositories of one cache share by their Xet hash.

    <root>/blobs/.huggingface-shared-blobs    "1" and a newline: without it the folder is another program's
    <root>/blobs/<2 digits>/<Xet hash>        content, a regular file
    <root>/blobs/<2 digits>/<Xet hash>.refs   the repository blobs that link to it, one a line
    <root>/blobs/<2 digits>/<Xet hash>.lock   taken around every change

Source: utils/_shared_blobs.py of huggingface_hub 2.4.0; its own locks, marker and lists are used. huggingface_hub
trusts a file here by name and size. So the hash that names a file of ours was computed from the file's bytes, and a
file that is already here is read before it is trusted. Files are never modified in place: a damaged one is replaced by
rename, which mends it for every repository that links to it.
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
"""Read a file and tell whether it has the expected content."""


def sharing_is_on() -> bool:
    """Whether the user lets huggingface_hub use the store."""
    return theirs.shared_blobs_enabled()


class SharedBlobs:
    """The store of one cache. Every change goes through its `CachePlace`. Methods raise nothing unless they say so."""

    def __init__(self, root: Path, cache: CachePlace) -> None:
        self._root, self._cache = root, cache

    def find(self, xet_hash: str) -> Path | None:
        """Return a file's path if the store has it; the content is unchecked."""
        with suppress(ValueError, OSError):
            path = theirs.shared_blob_path(self._root, xet_hash)
            if sharing_is_on() and theirs.is_shared_blobs_dir(path.parent.parent) and _is_regular(path):
                return path
        return None

    def lead(self, blob: Path, xet_hash: str, right: Right, temporary: Path) -> bool:
        """Link a repository's blob to the store's file if that is `right`; tell whether it is linked."""
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
        """Move a blob that was just laid into the store; tell whether that replaced a damaged file.

        `mends` allows that. If anything prevents the move, the blob stays in the repository. Raises `OSError` if that
        fails too.
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
        if blob.stat().st_nlink == 1:  # otherwise it is also the library's file, whose mode must stay
            theirs._prepare_shared_blob_permissions(blob, folder, self._root)  # noqa: SLF001
        self._cache.replace(blob, store)
        try:
            self._link(blob, store, temporary)
        except OSError:
            self._cache.fill_new(blob, lambda path: shutil.copyfile(store, path))
            raise

    def _link(self, blob: Path, store: Path, temporary: Path) -> None:
        """Make the link, after adding it to the list of links to the file."""
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
