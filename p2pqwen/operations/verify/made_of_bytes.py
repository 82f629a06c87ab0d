"""What a snapshot's own bytes say: which files are LFS, the license, and so a manifest without a proof.

No infohash covers a manifest. A manifest that says only what these functions say adds nothing to the bytes, no
matter who wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.hub.git_attributes import lfs_paths
from p2pqwen.library import durable
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.git_object import FILE_MODE
from p2pqwen.manifest.license import license_of_readme
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath

MAX_ATTRIBUTES = 1 << 20
MAX_README_SIZE = 4 << 20
_ATTRIBUTES, _README = RepoPath(".gitattributes"), RepoPath("README.md")
_READ = {_ATTRIBUTES: MAX_ATTRIBUTES, _README: MAX_README_SIZE}


def lfs_in(folder: Path, sizes: Iterable[tuple[RepoPath, int]]) -> frozenset[RepoPath]:
    """Return the files, given with sizes in bytes, that the folder's `.gitattributes` keeps in LFS.

    Raises `FormatError`, `DiskError`.
    """
    known = dict(sizes)
    attributes = b""
    if known.get(_ATTRIBUTES, MAX_ATTRIBUTES + 1) <= MAX_ATTRIBUTES:
        attributes = durable.read(folder / _ATTRIBUTES.text, max_bytes=MAX_ATTRIBUTES)
    return lfs_paths(attributes, (path for path, size in known.items() if size))


def license_in(folder: Path, rows: Sequence[FileRow]) -> str | None:
    """Return the license that the README names, None if there is none; raises `DiskError`, `NotFoundError`."""
    readme = next((row for row in rows if row.path == _README), None)
    if readme is None or readme.size > MAX_README_SIZE:
        return None
    return license_of_readme(durable.read(folder / _README.text, max_bytes=MAX_README_SIZE))


def is_made_of_bytes(manifest: Manifest, folder: Path) -> bool:
    """Tell whether a manifest says only what its verified files say themselves."""
    rows = manifest.files
    # A pointer in another than the canonical form comes from git, not from the bytes, and so does its row.
    git_alone = manifest.commit_object is not None or any(
        row.pointer is not None or row.mode != FILE_MODE for row in rows
    )
    if git_alone or manifest.says_more:
        return False
    try:
        if not all(_is_there(row, folder) for row in rows if row.path in _READ):
            return False
        in_lfs = lfs_in(folder, ((row.path, row.size) for row in rows))
        return license_in(folder, rows) == manifest.license and all((row.path in in_lfs) is row.lfs for row in rows)
    except (FormatError, DiskError, NotFoundError):
        return False


def is_made_of_held(torrent: CheckedTorrent, held: HeldSnapshot | None, library: Library) -> bool:
    """Tell whether a torrent's manifest says only what the bytes of a complete, verified held snapshot say."""
    if held is None or torrent.manifest is None or held.state is not State.COMPLETE:
        return False
    verified = library.verified.infohash(held.id) == torrent.infohash.v2
    return verified and is_made_of_bytes(torrent.manifest, held.folder)


def _is_there(row: FileRow, folder: Path) -> bool:
    """Tell whether a file that is read here is the manifest's; one too large to be read counts as such."""
    if row.size > _READ[row.path]:
        return True
    return Sha256.of(durable.read(folder / row.path.text, max_bytes=row.size)) == row.sha256
