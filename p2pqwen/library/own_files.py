"""Delete a snapshot's own files in a folder, and nothing else: users may have put other files there.

If any of those stay, the folder is marked (`<commit>.left`). A marked folder holds no snapshot, and its files are not
reused: the next attempt to make or fetch the snapshot there sets it aside first.
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
    """A path that was not deleted or moved, and why."""

    path: Path
    reason: str


def below(folder: Path) -> Iterator[str]:
    """Yield the relative path of everything below a folder except folders; links are not followed. Raises `OSError`."""

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
    """Delete the files of these names in a snapshot's folder, and folders that are then empty; return what stays.

    `take` is asked about every other file, and again just before that file is deleted: None if it may be deleted.
    `release` is called after the first answers and before anything is deleted: from then on the folder holds no
    snapshot. Raises `DiskError`.
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
            folder.unlink()  # it leads to a folder of the user's, which stays
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
    """Set a marked folder aside, for a snapshot that is begun there again; raises `DiskError`."""
    folder, marker = place.folder(snapshot), place.left_marker(snapshot)
    if not marker.exists() or place.torrent_path(snapshot).exists():
        return
    if folder.is_dir() and not folder.is_symlink():
        set_aside(folder)
    durable.remove(marker)


def set_aside(folder: Path) -> Path:
    """Rename a folder to a free name beside it, and return the new path; raises `DiskError`."""
    aside = next(path for number in count(1) if not os.path.lexists(path := Path(f"{folder}.aside-{number}")))
    durable.rename(folder, aside, shared=True)
    return aside


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the empty folders below a folder, then itself and the 2 above it, if they are empty."""
    if folder.is_dir():
        for here, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # not empty
                Path(here).rmdir()
    for parent in (folder.parent, folder.parent.parent):
        if parent != root and parent.is_dir():
            with suppress(OSError):
                parent.rmdir()
