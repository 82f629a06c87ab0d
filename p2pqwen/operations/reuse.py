"""Content that is here already: files of other revisions and other models with the same SHA-256.

Nothing here is believed: a file is put in place as a link (a copy where the file system has no links), and whoever
asked verifies it like any other file, a fetch piece by piece. A link that turns out wrong is separated before anything
is written (`fetch_files.unshare_bad_files`), so that a wrong guess costs a reading and never another snapshot's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.linking import place
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.manifest import FileRow, parse_manifest
from p2pqwen.torrent.metainfo import MAX_TORRENT_BYTES, parse_metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

_SEARCH_BYTES_FOR = 64
"""Up to so many hashes are looked for in a torrent's bytes before it is parsed, which is a hundred times as fast."""


@dataclass(frozen=True, slots=True)
class Reused:
    """What was put in place: paths, and their size in bytes."""

    files: tuple[RepoPath, ...] = ()
    size: int = 0


def reuse(
    snapshot: SnapshotId,
    rows: Iterable[FileRow],
    folder: Path,
    *,
    library: Library,
) -> Reused:
    """Put every file of `rows` that another held snapshot has, and `folder` lacks, into `folder`.

    Unverified; the caller holds the snapshot's lock. Raises `DiskError`.
    """
    lacking = [row for row in rows if row.size and not _is_whole(folder / row.path.text, row.size)]
    found = held_content(library, {row.sha256 for row in lacking}, near=snapshot)
    placed = []
    for row in lacking:
        source = found.get(row.sha256)
        target = folder / row.path.text
        if source is None or (target.exists() and target.samefile(source)):
            continue
        with durable.disk_errors(f"replace {target}"):
            target.unlink(missing_ok=True)  # half a file from an earlier try
        place(source, target)
        placed.append(row)
    return Reused(tuple(row.path for row in placed), sum(row.size for row in placed))


def held_content(library: Library, wanted: Iterable[Sha256], *, near: SnapshotId) -> Mapping[Sha256, Path]:
    """Return where held snapshots other than `near` have files with these SHA-256; the same repository's first.

    A snapshot whose torrent cannot be read is passed over.
    """
    missing = set(wanted)
    found: dict[Sha256, Path] = {}
    others = [held for held in library.all() if held.id != near and held.state is not State.INCOMPLETE]
    for held in sorted(others, key=lambda held: (held.id.repo != near.repo, held.id.repo.org != near.repo.org)):
        if not missing:
            break
        for row in _rows(held, missing):
            path = held.folder / row.path.text
            if row.sha256 in missing and path.is_file() and path.stat().st_size == row.size:
                found[row.sha256] = path
                missing.discard(row.sha256)
    return found


def _rows(held: HeldSnapshot, wanted: set[Sha256]) -> Iterator[FileRow]:
    try:
        data = durable.read(held.torrent_path, max_bytes=MAX_TORRENT_BYTES)
        if len(wanted) <= _SEARCH_BYTES_FOR and not any(str(digest).encode() in data for digest in wanted):
            return
        manifest = parse_metainfo(data).manifest
        if manifest is not None:
            yield from parse_manifest(manifest).files
    except P2pqwenError:
        return


def _is_whole(path: Path, size: int) -> bool:
    """Tell whether a file has its size and no holes; a compressed one may seem to have some, and is linked anew."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return stat.st_size == size and stat.st_blocks * 512 >= size
