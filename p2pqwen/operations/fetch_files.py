"""The files of a fetch on disk: room for them, links that must not be written through, and whether they are right."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from p2pqwen.errors import NotFoundError
from p2pqwen.hub.git_attributes import lfs_paths
from p2pqwen.library import durable
from p2pqwen.library.folders import device
from p2pqwen.library.hashing import FileDigests, hash_file
from p2pqwen.library.linking import place
from p2pqwen.library.snapshots import Library
from p2pqwen.library.space import allocated, require_free
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.file_check import difference
from p2pqwen.operations.snapshot_build import make_manifest
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

_ATTRIBUTES = RepoPath(".gitattributes")
MAX_ATTRIBUTES = 1 << 20
_COPY = ".p2pqwen-copy"


def choose_files(metainfo: Metainfo, globs: Sequence[str] | None) -> frozenset[RepoPath] | None:
    """Return the files that any of the globs matches, None for all; raises `NotFoundError` when none does."""
    if globs is None:
        return None
    chosen = frozenset(
        file.path for file in metainfo.files if any(fnmatch.fnmatchcase(file.path.text, glob) for glob in globs)
    )
    if not chosen:
        raise NotFoundError("no file of the snapshot matches --include", got=", ".join(globs))
    return chosen


def require_room(
    folder: Path,
    metainfo: Metainfo,
    files: Collection[RepoPath] | None,
    *,
    library: Library,
    copy_to: Path | None,
) -> None:
    """Refuse with `DiskError` when the missing bytes do not fit; `copy_to` is a folder that gets copies as well.

    A cache on another file system cannot share blocks with the library, so everything stands there twice.
    """
    wanted = [file for file in metainfo.files if files is None or file.path in files]
    with durable.disk_errors(f"look at {folder}"):
        missing = sum(max(0, file.size - allocated(folder / file.path.text)) for file in wanted)
    library.require_room(folder, missing)
    if copy_to is not None and device(copy_to) != device(folder):
        require_free(copy_to, sum(file.size for file in wanted))


def unshare_bad_files(folder: Path, metainfo: Metainfo, manifest: Manifest | None, *, library: Library) -> bool:
    """Give every file here that has a second name, and is not right, bytes of its own; tell whether any file is shared.

    The Hugging Face cache may hold the other name, and a download must never write there. Raises `DiskError` where
    there is no room for a copy.
    """
    rows = {} if manifest is None else {row.path: row for row in manifest.files}
    shared = False
    with durable.disk_errors(f"separate files below {folder}"):
        for file in metainfo.files:
            path = folder / file.path.text
            if path.is_symlink():
                path.unlink()  # never ours, and libtorrent would write through it
                continue
            if not path.is_file():
                continue
            if path.stat().st_nlink > 1:
                shared = True
                row = rows.get(file.path)
                if row is None or not _holds(path, row):
                    library.require_room(folder, path.stat().st_size)
                    copy = path.with_name(path.name + _COPY)
                    copy.unlink(missing_ok=True)
                    place(path, copy, allow_hard_link=False)
                    copy.replace(path)
            if path.stat().st_size > file.size:
                os.truncate(path, file.size)  # pieces end where the file should: nobody would ever cut the rest off
    return shared


def check_files(
    metainfo: Metainfo,
    manifest: Manifest | None,
    folder: Path,
    wanted: Sequence[RepoPath],
    digests: Mapping[RepoPath, FileDigests],
) -> dict[RepoPath, FileDigests]:
    """Compare what was hashed with the manifest (and with the torrent, where its hashes were made too).

    A file whose digest is missing or wrong is read once more, from the disk it was written out to. Returns every
    file's digests; raises `VerificationError` that names the first file that is really wrong.
    """
    rows = {} if manifest is None else {row.path: row for row in manifest.files}
    roots = {file.path: file.pieces_root for file in metainfo.files}
    layout = metainfo.layout
    good: dict[RepoPath, FileDigests] = {}
    for index, file in enumerate(layout.files):
        if file.path not in wanted:
            continue
        found = digests.get(file.path)
        compare = partial(difference, size=file.size, root=roots[file.path], row=rows.get(file.path))
        if found is None or compare(found) is not None:
            found = hash_file(
                folder / file.path.text, piece_length=layout.piece_length, padded=layout.pad_after(index) > 0
            )
        if (problem := compare(found)) is not None:
            raise problem.error(file.path)
        good[file.path] = found
    return good


def rebuild_manifest(
    snapshot: SnapshotId, metainfo: Metainfo, digests: Mapping[RepoPath, FileDigests], folder: Path
) -> Manifest:
    """Make a manifest from the bytes, for a torrent that came without one: unproven, and LFS as .gitattributes says."""
    paths = [file.path for file in metainfo.files]
    attributes = b""
    if _ATTRIBUTES in digests and digests[_ATTRIBUTES].size <= MAX_ATTRIBUTES:
        attributes = durable.read(folder / _ATTRIBUTES.text, max_bytes=MAX_ATTRIBUTES)
    in_lfs = lfs_paths(attributes, (path for path in paths if digests[path].size))
    rows = [_row(path, digests[path], lfs=path in in_lfs) for path in paths]
    return make_manifest(snapshot, rows, folder, commit_object=None, tree_rows=None)


def _row(path: RepoPath, digests: FileDigests, *, lfs: bool) -> FileRow:
    oid = pointer_oid(digests.sha256, digests.size) if lfs else digests.git_blob
    if oid is None:
        raise ValueError(f"the git blob id of {path} was not computed")
    return FileRow(path, digests.size, digests.sha256, oid, lfs)


def _holds(path: Path, row: FileRow) -> bool:
    if path.stat().st_size != row.size:
        return False
    return hash_file(path, piece_length=1 << 20, padded=False, git_blob=False).sha256 == row.sha256
