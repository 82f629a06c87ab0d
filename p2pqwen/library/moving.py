"""Move a held snapshot to another library folder: by renaming on one disk, else by a copy that is read back.

The snapshot stays where it is until the copy is whole, read back and on the disk. Then its torrent is written at the
new place, and only then the old copy is deleted. A crash in between leaves the snapshot at one of the places or at
both, never at none; moving it again finishes the move.

Users may have put other files into the snapshot's folder, or at the new place. Files that are not the snapshot's are
deleted only if the new place has the same; otherwise they move along. What cannot move stays and is reported.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.folders import LibraryFolder, device
from p2pqwen.library.own_files import Left, below, delete_own, set_aside
from p2pqwen.library.snapshots import HeldSnapshot, Library, State, seal_of
from p2pqwen.library.verified import Verified
from p2pqwen.portable.files import clone
from p2pqwen.torrent.info import FileEntry
from p2pqwen.values.snapshot_id import SnapshotId

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Moved:
    """A snapshot that was moved, from and to which library folder. `copied`: bytes; 0 if it was renamed."""

    held: HeldSnapshot
    came_from: Path
    size: int
    copied: int
    left: tuple[Left, ...] = ()


def bytes_to_copy(held: HeldSnapshot, place: LibraryFolder) -> int:
    """Return the bytes that a move writes: none on the same disk. Raises `DiskError`, `FormatError`."""
    return 0 if device(held.folder) == device(place.root) else held.wanted_bytes(held.metainfo())


def move(
    library: Library, held: HeldSnapshot, place: LibraryFolder, *, on_bytes: Callable[[int], object] = lambda _: None
) -> Moved:
    """Move a snapshot into a folder of the library; `on_bytes` gets the number of bytes just copied.

    Raises `DiskError` if there is no room or the disk returns other bytes than were written, `LockHeldError` if another
    process works on the snapshot, `P2pqwenError` if it is still being fetched.
    """
    with durable.lock(library.lock_path(held.id)):
        library.require_here(held)
        if held.state is State.INCOMPLETE:
            what = f"{held.id} is not complete, and a fetch may go on with it where it is"
            raise P2pqwenError(what, hint=f"`p2pqwen fetch {held.id}` completes it; then move it")
        source = next(one for one in library.folders if held.folder.is_relative_to(one.root))
        metainfo = held.metainfo()
        entries = [file for file in metainfo.files if held.wants(file.path)]
        files = [file.path for file in entries]
        size = held.wanted_bytes(metainfo)
        known = library.verified.unchanged(held.id, metainfo.infohash.v2, held.folder, files)
        there = replace(held, folder=place.folder(held.id), torrent_path=place.torrent_path(held.id))
        if source == place or (
            _is_of(there, held) and library.verified.unchanged(held.id, metainfo.infohash.v2, there.folder, files)
        ):
            left = _end_cut_off(library, there, place, entries, verified=known or source != place)
            return Moved(there, source.root, size, 0, tuple(left))
        copied = bytes_to_copy(held, place)
        place.require_room(copied, claimed=library.claimed(place))
        renames = device(held.folder) == device(place.root)
        left = _bring(held, place, entries, on_bytes, renames=renames)
        origin = there.folder if renames else held.folder
        if known and library.verified.unchanged(held.id, metainfo.infohash.v2, origin, files):
            # What was verified still is: each byte was compared, and nothing wrote to the files meanwhile.
            now = Verified.now(metainfo.infohash.v2, place.folder(held.id), files)
            library.verified.keep(held.id, now)
        _name(held, place)
        left += _leave(held.id, source, place, entries)
        library.remember()
        return Moved(library.find(held.id.repo, held.id.commit), source.root, size, copied, tuple(left))


def _end_cut_off(
    library: Library, held: HeldSnapshot, place: LibraryFolder, entries: Sequence[FileEntry], *, verified: bool
) -> list[Left]:
    """Finish earlier moves to `place` that were interrupted before the old copies were deleted.

    An old copy is deleted only if the snapshot here is as it was `verified`, and the copy is of the same torrent.
    """
    left: list[Left] = []
    for other in library.folders:
        if other == place or not other.torrent_path(held.id).exists():
            continue
        twin = replace(held, folder=other.folder(held.id), torrent_path=other.torrent_path(held.id))
        if not verified:
            reason = f"a second copy; `p2pqwen verify {held.id}` reads the first, then moving it again deletes this one"
        elif not _is_of(twin, held):
            reason = "a second copy, of another torrent or of one that cannot be read"
        else:
            left += _leave(held.id, other, place, entries)
            continue
        left.append(Left(twin.folder, reason))
    library.remember()
    return left


def _is_of(one: HeldSnapshot, other: HeldSnapshot) -> bool:
    try:
        return one.metainfo().infohash == other.metainfo().infohash
    except P2pqwenError:
        return False


def _bring(
    held: HeldSnapshot,
    place: LibraryFolder,
    files: Sequence[FileEntry],
    on_bytes: Callable[[int], object],
    *,
    renames: bool,
) -> list[Left]:
    """Bring a snapshot to its new place; return what was there and is not ours to delete."""
    target = place.folder(held.id)
    if target.is_dir() and not _is_whole(held.folder, files) and (_is_whole(target, files) or not held.folder.exists()):
        return []  # an earlier move was interrupted after it had renamed the folder
    if not held.folder.exists():
        raise DiskError(f"nothing of {held.id} is there to be moved", got=f"no {held.folder}")
    with durable.disk_errors(f"move {held.id} to {place.root}"):
        durable.make_folder(target.parent, shared=True)
    coming = held.folder if renames else _staged(held, place, files, on_bytes)
    with durable.disk_errors(f"move {held.id} to {place.root}"):
        left = _make_way(target, held.folder, files)
    durable.rename(coming, target, shared=True)
    return left


def _make_way(target: Path, old: Path, files: Sequence[FileEntry]) -> list[Left]:
    """Clear the target: delete what an interrupted move left of the snapshot, and set anything else aside."""
    if target.is_symlink():
        target.unlink()  # it leads to a folder of the user's
        return []
    if not target.exists():
        return []
    names = {one.path.text for one in files}
    if any(not (name in names or _same(target / name, old / name)) for name in below(target)):
        return [Left(set_aside(target), "it was where the snapshot goes, and has files that are not the snapshot's")]
    shutil.rmtree(target)
    return []


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths are files with the same bytes, or links to the same place."""
    try:
        if one.is_symlink() or other.is_symlink():
            return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
        return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _is_whole(folder: Path, files: Sequence[FileEntry]) -> bool:
    """Tell whether a folder has all these files, each with its full size."""
    try:
        return all((folder / one.path.text).stat().st_size == one.size for one in files)
    except OSError:
        return False


def _staged(
    held: HeldSnapshot, place: LibraryFolder, files: Sequence[FileEntry], on_bytes: Callable[[int], object]
) -> Path:
    """Copy a snapshot to the staging folder on the disk of its new place, and sync it."""
    staged = place.staged(held.id)
    with durable.disk_errors(f"copy {held.id} to {place.root}"):
        if staged.exists():
            shutil.rmtree(staged)
        for one in files:
            source, copy = held.folder / one.path.text, staged / one.path.text
            durable.make_folder(copy.parent, shared=True)
            _copy(source, copy, on_bytes)
    durable.sync_tree(staged)
    return staged


def _copy(source: Path, target: Path, on_bytes: Callable[[int], object]) -> None:
    """Copy a file with its times, and read the copy back; raises `DiskError` if it differs."""
    before = source.stat()
    if not clone(source, target):
        took, gives = hashlib.sha256(), hashlib.sha256()
        with source.open("rb") as reader, target.open("xb") as writer:
            while block := reader.read(_BLOCK):
                took.update(block)
                writer.write(block)
                on_bytes(len(block))
            writer.flush()
            os.fsync(writer.fileno())
        with target.open("rb") as reader:
            while block := reader.read(_BLOCK):
                gives.update(block)
        if took.digest() != gives.digest():
            raise DiskError(f"the disk of {target} returns other bytes than it took", hint="look at it: `smartctl -a`")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def _name(held: HeldSnapshot, place: LibraryFolder) -> None:
    """Write the marker, the torrent and its seal at the new place. The torrent keeps its time: when it was added."""
    torrent, marker = place.torrent_path(held.id), held.torrent_path.with_suffix(".partial")
    if marker.exists():
        durable.write(place.marker(held.id), durable.read(marker, max_bytes=1 << 20), mode=durable.SHARED)
    durable.remove(place.left_marker(held.id))
    seal = seal_of(held.torrent_path)
    if seal.exists():
        durable.write(seal_of(torrent), durable.read(seal, max_bytes=1 << 12), mode=durable.SHARED)
    with durable.disk_errors(f"read {held.torrent_path}"):
        data, before = held.torrent_path.read_bytes(), held.torrent_path.stat()
    durable.write(torrent, data, mode=durable.SHARED)
    with durable.disk_errors(f"write {torrent}"):
        os.utime(torrent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _leave(snapshot: SnapshotId, source: LibraryFolder, place: LibraryFolder, files: Sequence[FileEntry]) -> list[Left]:
    """Delete a snapshot at its old place, and move the other files in its folder along; return what could not move.

    The torrent is deleted before the files, so that what remains is not a snapshot.
    """
    folder, target = source.folder(snapshot), place.folder(snapshot)
    taken: list[str] = []

    def take(name: str) -> Left | None:
        left = _take_along(folder / name, target / name, place)
        if left is None:
            taken.append(name)
        return left

    def release() -> None:
        if taken:
            durable.sync_tree(target)
        for path in (source.torrent_path(snapshot), seal_of(source.torrent_path(snapshot)), source.marker(snapshot)):
            durable.remove(path)

    return list(delete_own(source, snapshot, {one.path.text for one in files}, take=take, release=release))


def _take_along(path: Path, target: Path, place: LibraryFolder) -> Left | None:
    """Copy a file or link that is not the snapshot's to the new place, unless another file is there."""
    try:
        if os.path.lexists(target):
            return None if _same(path, target) else Left(path, f"another file is at {target}")
        with durable.disk_errors(f"copy {path}"):
            durable.make_folder(target.parent, shared=True)
            if path.is_symlink():
                target.symlink_to(path.readlink())
                return None
            if not path.is_file():
                return Left(path, "it is not a file, folder or link")
            place.require_room(path.stat().st_size)
            coming = durable.temporary_beside(target, shared=True)
            try:
                _copy(path, coming, lambda _: None)
                shutil.copymode(path, coming)
                coming.rename(target)
            finally:
                coming.unlink(missing_ok=True)
    except DiskError as error:
        return Left(path, error.message)
    return None
