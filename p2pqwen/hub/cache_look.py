"""Look at a Hugging Face cache without changing it: what keeps p2pqwen from writing there, or a loader from reading.

Nothing here raises: what cannot be read is part of the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.hub.cache_refs import CachedRef, all_refs
from p2pqwen.hub.cache_tree import files_of_tree, names_to_mark
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import cache_folder

MAX_REPOSITORIES = 10_000
_WRITTEN_TO = ("blobs", "snapshots", "refs", "trees", ".no_exist")
_MAY_WRITE = os.R_OK | os.W_OK | os.X_OK


@dataclass(frozen=True, slots=True)
class LooseRef:
    """A ref that leads no loader to a snapshot; `folder` is the name of its repository's folder."""

    folder: str
    ref: CachedRef


@dataclass(frozen=True, slots=True)
class CacheLook:
    """What was seen. `closed`: folders that we may not write to, and tree files that we may not read.

    `locks`: other users' lock files that we may not open. `unmarked`: held snapshots that lack some markers.
    """

    exists: bool
    closed: tuple[Path, ...] = ()
    locks: tuple[Path, ...] = ()
    loose: tuple[LooseRef, ...] = ()
    unmarked: tuple[SnapshotId, ...] = ()


def look_at_cache(root: Path, held: Iterable[SnapshotId]) -> CacheLook:
    """Look at the cache below `root`; `held` are the snapshots of the library."""
    if not os.path.isdir(root):  # noqa: PTH112 - False for one that we may not read
        return CacheLook(exists=False)
    folders = _repositories(root)
    closed = [root] if not os.access(root, _MAY_WRITE) else []
    closed += [path for folder in folders for path in _closed(folder)]
    return CacheLook(
        exists=True,
        closed=tuple(closed),
        locks=tuple(_closed_locks(root)),
        loose=tuple(one for folder in folders for one in _loose(folder)),
        unmarked=tuple(one for one in held if _lacks_markers(root, one)),
    )


def _repositories(root: Path) -> list[Path]:
    with suppress(OSError):
        found = (path for path in sorted(root.iterdir()) if "--" in path.name)
        return [path for path in found if os.path.isdir(path)][:MAX_REPOSITORIES]  # noqa: PTH112 - as above
    return []


def _closed(folder: Path) -> Iterator[Path]:
    parts = [folder / name for name in _WRITTEN_TO]
    with suppress(OSError):
        parts += sorted((folder / "snapshots").iterdir())
    for path in (folder, *parts):
        if os.path.isdir(path) and not os.access(path, _MAY_WRITE):  # noqa: PTH112 - as above
            yield path
    with suppress(OSError):
        yield from (path for path in sorted((folder / "trees").glob("*.json")) if not os.access(path, os.R_OK))


def _closed_locks(root: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in sorted((root / ".locks").glob("*/*.lock")) if not os.access(path, os.R_OK | os.W_OK)]
    return []


def _loose(folder: Path) -> Iterator[LooseRef]:
    with suppress(OSError):
        for ref in all_refs(folder):
            if not (ref.held and ref.tidy):
                yield LooseRef(folder.name, ref)


def _lacks_markers(root: Path, snapshot: SnapshotId) -> bool:
    folder, commit = root / cache_folder(snapshot.repo), str(snapshot.commit)
    laid = folder / "snapshots" / commit
    if not os.path.isdir(laid):  # noqa: PTH112 - as above
        return False
    with suppress(OSError):
        files = files_of_tree(folder, commit)
        return not all(
            (folder / ".no_exist" / commit / name.text).exists()
            for name in names_to_mark(snapshot.repo.kind, laid, files)
        )
    return False
