"""Deletes a snapshot's own files in a folder, and nothing else: somebody may have put files of their own there.

Where any of those stay, the folder is marked (`<commit>.left`): it holds no snapshot and is raw material for none, so
whatever begins the snapshot there once more sets it aside first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from p2pqwen.library import durable
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class Left:
    """What stays where it was, and why."""

    path: Path
    reason: str


def below(folder: Path) -> Iterator[str]:
    """Yield whatever is below a folder and is no folder, by its path there; no link is followed. Raises `OSError`."""

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, found in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(here, name).is_symlink()]
        for name in (*found, *links):
            yield Path(here, name).relative_to(folder).as_posix()


def delete_own(
    place: LibraryFolder,
    snapshot: SnapshotId,
    names: Collection[str],
    *,
    take: Callable[[str], Left | None],
    release: Callable[[], None],
) -> tuple[Left, ...]:
    """Delete files of these names in a snapshot's folder, and the folders that are empty then; return what stays.

    `take` is asked about everything else, and once more before that is deleted: None where it may be. `release` is
    called once the first answers are there and before anything is deleted: from then on it is no snapshot. Raises
    `DiskError`.
    """
    folder = place.folder(snapshot)
    with durable.disk_errors(f"look into {folder}"):
        found = list(below(folder)) if folder.is_dir() and not folder.is_symlink() else []
    left = {name: one for name in found if name not in names if (one := take(name)) is not None}
    if left:
        durable.write(place.left_marker(snapshot), b"", mode=durable.SHARED)
    release()
    with durable.disk_errors(f"remove {folder}"):
        if folder.is_symlink():
            folder.unlink()  # to somebody's own folder, which stays
        for name in found:
            if name in left:
                continue
            if name not in names and (one := take(name)) is not None:  # it changed meanwhile
                left[name] = one
                durable.write(place.left_marker(snapshot), b"", mode=durable.SHARED)
                continue
            (folder / name).unlink(missing_ok=True)
        _remove_empty(folder, place.root)
    if not left:
        durable.remove(place.left_marker(snapshot))
    return tuple(left.values())


def set_aside_left(place: LibraryFolder, snapshot: SnapshotId) -> None:
    """Give way to a snapshot that is begun where files of somebody's own were left. Raises `DiskError`."""
    folder, marker = place.folder(snapshot), place.left_marker(snapshot)
    if not marker.exists() or place.torrent_path(snapshot).exists():
        return
    if folder.is_dir() and not folder.is_symlink():
        set_aside(folder)
    durable.remove(marker)


def set_aside(folder: Path) -> Path:
    """Rename a folder to a free name beside it, and return that; raises `DiskError`."""
    aside = next(path for number in count(1) if not os.path.lexists(path := Path(f"{folder}.aside-{number}")))
    durable.rename(folder, aside, shared=True)
    return aside


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the folders below a folder, itself, and the two above it, as far as they are empty."""
    if folder.is_dir():
        for here, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # it holds something
                Path(here).rmdir()
    for parent in (folder.parent, folder.parent.parent):
        if parent != root and parent.is_dir():
            with suppress(OSError):
                parent.rmdir()
