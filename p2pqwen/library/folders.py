"""The library's folders, on one disk or several: which are connected, which have room, what an absent one held.

The home's own `library/` is the first; `[library] folders` in config.toml names more. A disk that is not connected must
not look like an empty folder, since its snapshots would be taken for removed. Nor must it look like room, since its
mount point is on another disk:

    <folder>/.p2pqwen-folder   an id, written with the folder's first snapshot; a folder that was seen with an id is
                               there only while this file is
    <home>/folders.json        what was seen last: {"<id>": {"path": …, "snapshots": {"org/model@commit": size}}}
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pqwen.errors import DiskError, FormatError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.linking import shares_blocks
from p2pqwen.library.space import RESERVE, free_space
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import library_parts

ID_FILE = ".p2pqwen-folder"
MAX_MEMORY = 64 << 20
_MAX_ID = 100

Memory = dict[str, dict[str, Any]]


class AwayError(DiskError):
    """A snapshot is in the library, but its disk is not connected."""

    def __init__(self, snapshot: SnapshotId, folder: Path) -> None:
        self.snapshot = snapshot
        super().__init__(
            f"{snapshot} is on a disk that is not connected",
            got=f"nothing in {folder} identifies that disk",
            hint=f"connect it, or forget the snapshot with `p2pqwen remove {snapshot}`",
        )


@dataclass(frozen=True, slots=True)
class LibraryFolder:
    """One folder of organisations. `reserve`: bytes of its disk to leave free. `main`: this is the home's own."""

    root: Path
    reserve: int = RESERVE
    main: bool = False

    @property
    def staging(self) -> Path:
        """Snapshots being made; on the same file system, so installing one is a rename."""
        return self.root / ".staging"

    @property
    def room(self) -> int:
        """Bytes that may still be written here; raises `DiskError`."""
        return max(0, free_space(self.root) - self.reserve)

    def save_path(self, repo: RepoId) -> Path:
        """Return the torrent's save path: the folder that holds `<commit>/`."""
        return self.root.joinpath(*library_parts(repo))

    def folder(self, snapshot: SnapshotId) -> Path:
        """Return the folder of the payload."""
        return self.save_path(snapshot.repo) / str(snapshot.commit)

    def torrent_path(self, snapshot: SnapshotId) -> Path:
        """Return the path of the .torrent file."""
        return self.save_path(snapshot.repo) / f"{snapshot.commit}.torrent"

    def marker(self, snapshot: SnapshotId) -> Path:
        """Return the file that exists while the snapshot is incomplete."""
        return self.save_path(snapshot.repo) / f"{snapshot.commit}.partial"

    def left_marker(self, snapshot: SnapshotId) -> Path:
        """Return the file that exists if the folder contains only files that are not ours."""
        return self.save_path(snapshot.repo) / f"{snapshot.commit}.left"

    def staged_of(self, repo: RepoId) -> Path:
        """Return the folder in which a repository's snapshots are made."""
        return self.staging.joinpath(*library_parts(repo))

    def staged(self, snapshot: SnapshotId) -> Path:
        """Return the folder in which the snapshot is made."""
        return self.staged_of(snapshot.repo) / str(snapshot.commit)

    def require_room(self, size: int, *, claimed: int = 0) -> None:
        """Raise `DiskError` if `size` bytes would use the reserve, or what others `claimed`."""
        if size > 0 and size + claimed > self.room:
            others = f", {format_size(claimed)} for unfinished fetches" if claimed else ""
            raise DiskError(
                f"not enough room on the disk of {self.root}",
                expected=f"{format_size(size)}{others} and {format_size(self.reserve)} of reserve free",
                got=format_size(free_space(self.root)),
                hint="free some space, or name a folder on another disk in config.toml: [library] folders",
            )


@dataclass(frozen=True, slots=True)
class AwaySnapshot:
    """A snapshot whose disk is not connected; `folder` is where it was, `size` the bytes of its files."""

    id: SnapshotId
    folder: Path
    size: int


class LibraryFolders:
    """The folders of one home and what is remembered of them. Methods raise `DiskError`."""

    def __init__(self, folders: Sequence[LibraryFolder], memory: Path, lock: Path) -> None:
        self._folders, self._memory_file, self._lock = tuple(folders), memory, lock
        self._read: tuple[int, Memory] = (-1, {})

    @property
    def all(self) -> tuple[LibraryFolder, ...]:
        """Every folder, whether its disk is connected or not; the home's own first."""
        return self._folders

    def room(self, claimed: Callable[[LibraryFolder], int]) -> int:
        """Return the bytes that may be written in all. Folders on one disk count once, with the least reserve.

        `claimed` returns what unfinished fetches will still write in a folder.
        """
        disks: dict[int, int] = {}
        taken: dict[int, int] = {}
        for one in self.present():
            disk = device(one.root)
            disks[disk] = max(disks.get(disk, 0), one.room)
            taken[disk] = taken.get(disk, 0) + claimed(one)
        return sum(max(0, room - taken[disk]) for disk, room in disks.items())

    def present(self) -> tuple[LibraryFolder, ...]:
        """Return the folders whose disks are connected."""
        return tuple(one for one in self._folders if self.is_here(one))

    def is_here(self, folder: LibraryFolder) -> bool:
        """Tell whether a folder's disk is connected."""
        if folder.main:
            return folder.root.is_dir() or not folder.root.is_symlink()
        if not folder.root.is_dir():
            return False
        return _read_id(folder) is not None or not any(
            entry["path"] == str(folder.root) for entry in self._memory().values()
        )

    def away(self) -> list[AwaySnapshot]:
        """Return what the absent folders held."""
        memory = self._memory()
        if not memory:
            return []
        here = {_read_id(one) for one in self.present()}
        roots = {str(one.root): one for one in self._folders}
        return [
            AwaySnapshot(snapshot, roots[entry["path"]].folder(snapshot), size)
            for name, entry in memory.items()
            if name not in here and entry["path"] in roots
            for snapshot, size in _snapshots(entry)
        ]

    def choose(
        self, needed: Callable[[Path], int], beside: Path | None, claimed: Callable[[LibraryFolder], int]
    ) -> LibraryFolder:
        """Return the folder for a new snapshot: one with room, where the fewest bytes must be written.

        `needed` returns how many bytes must be written below a folder: a link needs the disk of the file it shares.
        Ties go to the disk of `beside`, then to the folder with the most room after what unfinished fetches `claimed`.
        Raises `DiskError` if no folder has room.
        """
        here = self.present()
        if len(here) == 1:
            here[0].require_room(needed(here[0].root), claimed=claimed(here[0]))
            return here[0]
        rated = [
            (needed(one.root), beside is not None and device(one.root) != device(beside), one.room - claimed(one))
            for one in here
        ]
        fits = [(size, far, -room, number) for number, (size, far, room) in enumerate(rated) if size <= max(0, room)]
        if not fits:
            raise DiskError(
                "no library folder has room",
                expected=format_size(min((size for size, *_ in rated), default=0)),
                got=", ".join(f"{format_size(one.room)} in {one.root}" for one in here) or "no folder at all",
                hint="free some space, lower a reserve, or name a folder on another disk: [library] folders",
            )
        return here[min(fits)[-1]]

    def remember(
        self, held: Mapping[LibraryFolder, Collection[SnapshotId]], size_of: Callable[[SnapshotId], int]
    ) -> None:
        """Write down what the folders on connected disks hold, for when a disk is gone."""
        seen: Memory = {}
        before = self._memory()
        for folder, snapshots in held.items():
            if folder.main or not (snapshots or _read_id(folder)):
                continue
            name = _read_id(folder) or self._give_id(folder)
            known = before.get(name, {}).get("snapshots", {})
            sizes = {str(one): known[str(one)] if str(one) in known else size_of(one) for one in snapshots}
            seen[name] = {"path": str(folder.root), "snapshots": sizes}
        if any(before.get(name) != entry for name, entry in seen.items()):
            with durable.lock(self._lock, wait=True):
                self._read = (-1, {})  # two writes within one clock tick have the same time
                durable.write(self._memory_file, json.dumps({**self._memory(), **seen}).encode())

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget a snapshot whose disk is not connected."""
        with durable.lock(self._lock, wait=True):
            self._read = (-1, {})
            memory = self._memory()
            for entry in memory.values():
                entry["snapshots"].pop(str(snapshot), None)
            durable.write(self._memory_file, json.dumps(memory).encode())
            self._read = (-1, {})

    def _give_id(self, folder: LibraryFolder) -> str:
        with durable.lock(self._lock, wait=True):
            if (given := _read_id(folder)) is not None:  # by another process, meanwhile
                return given
            name = secrets.token_hex(16)
            durable.write(folder.root / ID_FILE, f"{name}\n".encode(), mode=durable.SHARED)
            return name

    def _memory(self) -> Memory:
        """Return the content of folders.json; one that makes no sense counts as empty, and is written again."""
        try:
            stamp = self._memory_file.stat().st_mtime_ns
        except OSError:
            return {}
        if self._read[0] != stamp:
            try:
                value = json.loads(durable.read(self._memory_file, max_bytes=MAX_MEMORY))
                found = {str(name): entry for name, entry in value.items() if _is_entry(entry)}
            except (P2pqwenError, ValueError, AttributeError, RecursionError):
                found = {}
            self._read = stamp, found
        return self._read[1]


def bytes_to_write(files: Iterable[tuple[int, Path | None]], *, hard_links: bool = True) -> Callable[[Path], int]:
    """Return a function that tells how many bytes files take below a folder, given sizes and existing copies, if any.

    A file is linked if its copy is on the same disk, and written otherwise. Without `hard_links` it is written there
    too, unless that disk has reflinks.
    """
    known = [(size, source, None if source is None else device(source)) for size, source in files]

    def needed(folder: Path) -> int:
        disk = device(folder)
        near = [(size, source) for size, source, on in known if source is not None and on == disk]
        shared = near if hard_links or (near and shares_blocks(near[0][1], folder)) else []
        return sum(size for size, *_ in known) - sum(size for size, _ in shared)

    return needed


def device(path: Path) -> int:
    """Return the device id of the file system that `path` is on, or would be."""
    while True:  # a folder that we may not look into gives an error; the one above it answers
        try:
            return os.stat(path).st_dev  # noqa: PTH116 - asked for each of many files
        except OSError:
            if path == path.parent:
                raise
            path = path.parent


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("path"), str) and isinstance(value.get("snapshots"), dict)


def _snapshots(entry: Mapping[str, Any]) -> list[tuple[SnapshotId, int]]:
    found = []
    for name, size in entry["snapshots"].items():
        try:
            found.append((SnapshotId.parse(str(name)), int(size)))
        except (FormatError, ValueError, TypeError):
            continue
    return found


def _read_id(folder: LibraryFolder) -> str | None:
    try:
        with (folder.root / ID_FILE).open("rb") as file:
            return file.read(_MAX_ID).decode("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
