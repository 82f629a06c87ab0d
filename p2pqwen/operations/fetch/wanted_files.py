"""The files of a fetch on disk: whether there is room, and whether they are intact."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from p2pqwen.library import durable
from p2pqwen.library.folders import device
from p2pqwen.library.hashing import FileDigests, hash_file
from p2pqwen.library.linking import shares_blocks
from p2pqwen.library.snapshots import Library
from p2pqwen.library.space import require_free
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.preserve.build import make_manifest
from p2pqwen.operations.preserve.reuse import CachedFile, Candidate, OnDisk
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.operations.verify.made_of_bytes import lfs_in
from p2pqwen.portable.files import allocated, prefix_of, stat_if_there
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId


def require_room(
    folder: Path,
    metainfo: Metainfo,
    files: Collection[RepoPath] | None,
    *,
    here: OnDisk,
    library: Library,
    copy_to: Path | None,
) -> None:
    """Raise `DiskError` if the missing bytes do not fit; `copy_to` is a folder that receives copies as well.

    A hard-linked file that must change is copied first. Files from the Hugging Face cache are copied if there are no
    reflinks. A cache on another file system cannot share blocks with the library, so everything is stored twice.
    """
    chosen = None if files is None else frozenset(files)
    wanted = [file for file in metainfo.files if chosen is None or file.path in chosen]
    with durable.disk_errors(f"look at {folder}"):
        root = prefix_of(folder)
        missing = sum(_to_write(root + file.path.text, file.size) for file in wanted if file.path not in here.had)
        missing += sum(one.size for one in here.had.values() if _is_copied(one, folder))
    library.require_room(folder, missing)
    if copy_to is not None and device(copy_to) != device(folder):
        require_free(copy_to, sum(file.size for file in wanted))


def make_empty_files(folder: Path, metainfo: Metainfo, files: Collection[RepoPath] | None) -> None:
    """Create the empty files, which no piece covers, if they do not exist.

    Raises `DiskError`.
    """
    for file in metainfo.files:
        if file.size == 0 and (files is None or file.path in files):
            path = folder / file.path.text
            with durable.disk_errors(f"create {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.touch()


def check_files(
    metainfo: Metainfo,
    manifest: Manifest | None,
    folder: Path,
    wanted: Iterable[RepoPath],
    digests: Mapping[RepoPath, FileDigests],
) -> dict[RepoPath, FileDigests]:
    """Compare digests with the manifest (and with the torrent, if its hashes were computed too).

    A file whose digest is missing or wrong is read again from disk. Returns every file's digests; raises
    `VerificationError`, which names the first file that is still wrong.
    """
    rows = {} if manifest is None else {row.path: row for row in manifest.files}
    layout = metainfo.layout
    good: dict[RepoPath, FileDigests] = {}
    chosen = frozenset(wanted)
    for index, file in enumerate(layout.files):
        if file.path not in chosen:
            continue
        good[file.path] = check_file(metainfo, index, rows.get(file.path), folder, digests.get(file.path))
    return good


def check_file(
    metainfo: Metainfo, index: int, row: FileRow | None, folder: Path, found: FileDigests | None
) -> FileDigests:
    """Compare the digests of the torrent's file at `index` with its manifest row, as `check_files` does."""
    layout = metainfo.layout
    path = layout.files[index].path
    if found is None or difference(metainfo, index, row, found) is not None:
        found = hash_file(
            folder / path.text,
            piece_length=layout.piece_length,
            padded=layout.pad_after(index) > 0,
            git_blob=row is None or not row.lfs,  # for an LFS file, git's blob is the pointer, not the content
        )
    if (problem := difference(metainfo, index, row, found)) is not None:
        raise problem.error(path)
    return found


def layers_of(digests: Mapping[RepoPath, FileDigests]) -> dict[Sha256, bytes]:
    """Return the piece layers of files whose torrent hashes were computed, by pieces root."""
    found = (one.hashes for one in digests.values())
    return {hashes.pieces_root: hashes.piece_layer for hashes in found if hashes.pieces_root is not None}


def rebuild_manifest(
    snapshot: SnapshotId, metainfo: Metainfo, digests: Mapping[RepoPath, FileDigests], folder: Path
) -> Manifest:
    """Make a manifest from the files, for a torrent without one: unproven, with LFS as .gitattributes says."""
    paths = [file.path for file in metainfo.files]
    in_lfs = lfs_in(folder, ((path, digests[path].size) for path in paths))
    rows = [_row(path, digests[path], lfs=path in in_lfs) for path in paths]
    return make_manifest(snapshot, rows, folder, commit_object=None, tree_rows=None)


def _row(path: RepoPath, digests: FileDigests, *, lfs: bool) -> FileRow:
    oid = pointer_oid(digests.sha256, digests.size) if lfs else digests.git_blob
    if oid is None:
        raise ValueError(f"the git blob id of {path} was not computed")
    return FileRow(path, digests.size, digests.sha256, oid, lfs)


def _is_copied(candidate: Candidate, folder: Path) -> bool:
    """Tell whether a candidate takes additional space below a folder."""
    if candidate.source is None:
        return False
    if isinstance(candidate.source, CachedFile):
        return not shares_blocks(candidate.source.path, folder)
    return device(candidate.source.path) != device(folder)


def _to_write(path: str, size: int) -> int:
    """Return the bytes that a download will still write into a file; raises `OSError`."""
    if (found := stat_if_there(path)) is None:
        return size
    shared = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
    return size if shared else max(0, size - allocated(path, found))
