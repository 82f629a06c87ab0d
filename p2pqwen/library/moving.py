"""Move a held snapshot to another folder of the library: on one disk by renaming, else by a copy that is compared.

Until the copy is whole, read back and written out, the snapshot is where it was; then its torrent names the new place,
and only then the old one is deleted. A crash in between leaves it at one of the two, or at both, never at none; moving
it again ends that.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.folders import LibraryFolder, device
from p2pqwen.library.snapshots import HeldSnapshot, Library, State, seal_of
from p2pqwen.library.verified import Verified
from p2pqwen.portable.files import clone
from p2pqwen.torrent.info import FileEntry

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Moved:
    """A snapshot that was moved, from and to which folder of the library. `copied`: bytes; 0 where it was renamed."""

    held: HeldSnapshot
    came_from: Path
    size: int
    copied: int


def bytes_to_copy(held: HeldSnapshot, place: LibraryFolder) -> int:
    """Return the bytes that a move writes: none on the same disk. Raises `DiskError`, `FormatError`."""
    return 0 if device(held.folder) == device(place.root) else held.wanted_bytes(held.metainfo())


def move(
    library: Library, held: HeldSnapshot, place: LibraryFolder, *, on_bytes: Callable[[int], object] = lambda _: None
) -> Moved:
    """Move a snapshot into a folder of the library; `on_bytes` is told of what was copied.

    Raises `DiskError` for no room or a disk that gives other bytes than it took, `LockHeldError` where somebody works
    on the snapshot, `P2pqwenError` for one that is still being fetched.
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
        if source == place:
            return Moved(held, source.root, size, 0)
        known = library.verified.unchanged(held.id, metainfo.infohash.v2, held.folder, files)
        copied = bytes_to_copy(held, place)
        place.require_room(copied, claimed=library.claimed(place))
        _bring(held, place, entries, on_bytes, renames=not copied)
        if known:  # what was verified is verified still: each byte of it was compared
            now = Verified.now(metainfo.infohash.v2, place.folder(held.id), files)
            library.verified.keep(held.id, now)
        _name(held, place)
        _leave(held, source)
        library.remember()
        return Moved(library.find(held.id.repo, held.id.commit), source.root, size, copied)


def _bring(
    held: HeldSnapshot,
    place: LibraryFolder,
    files: Sequence[FileEntry],
    on_bytes: Callable[[int], object],
    *,
    renames: bool,
) -> None:
    target = place.folder(held.id)
    if target.is_dir() and not _is_whole(held.folder, files) and (_is_whole(target, files) or not held.folder.exists()):
        return  # a move was cut off after it had renamed the folder
    if not held.folder.exists():
        raise DiskError(f"nothing of {held.id} is there to be moved", got=f"no {held.folder}")
    with durable.disk_errors(f"move {held.id} to {place.root}"):
        durable.make_folder(target.parent, shared=True)
    coming = held.folder if renames else _staged(held, place, files, on_bytes)
    with durable.disk_errors(f"move {held.id} to {place.root}"):
        if target.exists():
            shutil.rmtree(target)  # of a move that was cut off: no torrent speaks of it, and what comes is whole
    durable.rename(coming, target, shared=True)


def _is_whole(folder: Path, files: Sequence[FileEntry]) -> bool:
    """Tell whether a folder has these files, each as large as it must be."""
    try:
        return all((folder / one.path.text).stat().st_size == one.size for one in files)
    except OSError:
        return False


def _staged(
    held: HeldSnapshot, place: LibraryFolder, files: Sequence[FileEntry], on_bytes: Callable[[int], object]
) -> Path:
    """Copy a snapshot to where one is made, on the disk of its new place, and write it out."""
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
    """Copy a file with its time, and read the copy back; raises `DiskError` where it is another one."""
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
            raise DiskError(f"the disk of {target} gives other bytes than it took", hint="look at it: `smartctl -a`")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def _name(held: HeldSnapshot, place: LibraryFolder) -> None:
    """Write the marker, the torrent and its seal at the new place, with the torrent's time: it says since when."""
    torrent, marker = place.torrent_path(held.id), held.torrent_path.with_suffix(".partial")
    if marker.exists():
        durable.write(place.marker(held.id), durable.read(marker, max_bytes=1 << 20), mode=durable.SHARED)
    seal = seal_of(held.torrent_path)
    if seal.exists():
        durable.write(seal_of(torrent), durable.read(seal, max_bytes=1 << 12), mode=durable.SHARED)
    with durable.disk_errors(f"read {held.torrent_path}"):
        data, before = held.torrent_path.read_bytes(), held.torrent_path.stat()
    durable.write(torrent, data, mode=durable.SHARED)
    with durable.disk_errors(f"write {torrent}"):
        os.utime(torrent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _leave(held: HeldSnapshot, source: LibraryFolder) -> None:
    """Delete the snapshot at its old place; the torrent first, so that what is left is no snapshot."""
    for path in (held.torrent_path, seal_of(held.torrent_path), source.marker(held.id)):
        durable.remove(path)
    with durable.disk_errors(f"remove {held.folder}"):
        if held.folder.is_symlink():
            held.folder.unlink()  # to somebody's own folder, which stays
        elif held.folder.is_dir():
            shutil.rmtree(held.folder)
        for parent in (held.folder.parent, held.folder.parent.parent):
            if parent != source.root and parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
