"""Which files of a snapshot were verified, and how they looked on disk then.

    verified/<org>--<model>@<commit>.json

While size, inode and modification time are unchanged, nothing has written to a file through the file system. While that
is true of all its files, a snapshot may be called complete. While the change time is unchanged too, a file is believed
without being read again: a second name or another mode changes that time, and so does setting the modification time
back. Rotten sectors do not show here; scrubbing finds those. Anything unreadable or different counts as "not verified"
and costs only a read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.portable.files import prefix_of
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import file_stem

MAX_RECORD_SIZE = 64 << 20
_UNREADABLE = (NotFoundError, DiskError, FormatError, OSError, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Look:
    """How a file looks without being read: bytes, inode, and its modification and change times in nanoseconds."""

    size: int
    inode: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path | str) -> Self:
        """Look at a file, not through a symlink; raises `OSError`."""
        return cls.of_stat(os.lstat(path))

    @classmethod
    def of_stat(cls, stat: os.stat_result) -> Self:
        """Return the look in a stat(2) result."""
        return cls(stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)

    def same_content(self, other: Look) -> bool:
        """Tell whether nothing suggests that the content differs; names and modes may differ."""
        return (self.size, self.inode, self.modified) == (other.size, other.inode, other.modified)

    def to_json(self) -> list[int]:
        """Return the stored form."""
        return [self.size, self.inode, self.modified, self.changed]


@dataclass(frozen=True, slots=True)
class Verified:
    """Files that were just verified against the torrent of `infohash` (v2), and how each looked."""

    infohash: Sha256
    looks: Mapping[RepoPath, Look]

    @classmethod
    def now(cls, infohash: Sha256, folder: Path, files: Iterable[RepoPath]) -> Self:
        """Record how these files look now; raises `DiskError` if a file is missing."""
        looks, root = {}, prefix_of(folder)
        for path in files:
            try:
                looks[path] = Look.of(root + path.text)
            except OSError as error:
                raise durable.disk_error(f"look at {root}{path}", error) from error
        return cls(infohash, looks)

    @property
    def size(self) -> int:
        """Bytes of these files."""
        return sum(look.size for look in self.looks.values())

    def same_content(self, folder: Path) -> bool:
        """Tell whether nothing suggests that the content of a file changed since; a missing file did change."""
        root = prefix_of(folder)
        try:
            return all(look.same_content(Look.of(root + path.text)) for path, look in self.looks.items())
        except OSError:
            return False


class VerifiedFiles:
    """The records under one home."""

    def __init__(self, home: Home) -> None:
        self._folder = home.verified

    def record(self, snapshot: SnapshotId, infohash: Sha256, folder: Path, files: Iterable[RepoPath]) -> None:
        """Record that these files were just verified against this torrent; raises `DiskError`."""
        self.keep(snapshot, Verified.now(infohash, folder, files))

    def keep(self, snapshot: SnapshotId, verified: Verified) -> None:
        """Record what was verified, and how it looked; raises `DiskError`."""
        looks = {path.text: look.to_json() for path, look in verified.looks.items()}
        self._write(snapshot, {"infohash": str(verified.infohash), "files": looks})

    def unchanged(self, snapshot: SnapshotId, infohash: Sha256, folder: Path, files: Iterable[RepoPath]) -> bool:
        """Tell whether all these files were verified and look as they did then, change time included."""
        known = self.of(snapshot)
        if known is None or known.infohash != infohash:
            return False
        root = prefix_of(folder)
        try:
            return all(known.looks[path] == Look.of(root + path.text) for path in files)
        except (OSError, KeyError):
            return False

    def of(self, snapshot: SnapshotId) -> Verified | None:
        """Return what was last verified of a snapshot, None if nothing readable tells."""
        try:
            document = self._read(snapshot)
            looks = {RepoPath(name): _look_of(look) for name, look in document["files"].items()}
            return Verified(Sha256.parse(document["infohash"]), looks)
        except (*_UNREADABLE, AttributeError):
            return None

    @contextmanager
    def naming(self, snapshot: SnapshotId, folder: Path, files: Iterable[RepoPath]) -> Iterator[None]:
        """Update the record when the block gives these files more names, which changes their change times.

        Only files that looked as they did when they were verified are updated. A failed write only costs a read later.
        """
        before = self._untouched(snapshot, folder, files)
        if not before:
            yield
            return
        try:
            yield
        finally:
            with suppress(*_UNREADABLE):
                self._follow(snapshot, folder, before)

    def infohash(self, snapshot: SnapshotId) -> Sha256 | None:
        """Return the v2 infohash of the torrent it was last verified against, None if unknown."""
        known = self.of(snapshot)
        return None if known is None else known.infohash

    def proven(self, snapshot: SnapshotId, infohash: Sha256) -> frozenset[str]:
        """Return the paths of the files whose bytes once matched every hash of the torrent of this v2 `infohash`.

        The v2 infohash covers the v1 pieces as well. What the files contain now is another question.
        """
        try:
            document = self._read(snapshot)
            return frozenset(document["files"]) if document["infohash"] == str(infohash) else frozenset()
        except _UNREADABLE:
            return frozenset()

    def stamp(self, snapshot: SnapshotId) -> int:
        """Return when a snapshot's record was written, in nanoseconds, 0 if there is none."""
        path = self._path(snapshot)
        return path.stat().st_mtime_ns if path.is_file() else 0

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget what was verified; raises `DiskError`."""
        durable.remove(self._path(snapshot))

    def _untouched(self, snapshot: SnapshotId, folder: Path, files: Iterable[RepoPath]) -> dict[str, Look]:
        names, root = [path.text for path in files], prefix_of(folder)
        if not names:
            return {}
        try:
            known = self._read(snapshot)["files"]
            looks = {name: Look.of(root + name) for name in names if name in known}
            return {name: look for name, look in looks.items() if _look_of(known[name]) == look}
        except _UNREADABLE:
            return {}

    def _follow(self, snapshot: SnapshotId, folder: Path, before: Mapping[str, Look]) -> None:
        root = prefix_of(folder)
        now = {name: Look.of(root + name) for name in before}
        moved = {name: look for name, look in now.items() if look != before[name] and look.same_content(before[name])}
        if moved:
            document = self._read(snapshot)
            document["files"] |= {name: look.to_json() for name, look in moved.items()}
            self._write(snapshot, document)

    def _read(self, snapshot: SnapshotId) -> dict[str, Any]:
        return dict(json.loads(durable.read(self._path(snapshot), max_bytes=MAX_RECORD_SIZE)))

    def _write(self, snapshot: SnapshotId, document: Mapping[str, Any]) -> None:
        durable.write(self._path(snapshot), json.dumps(document).encode())

    def _path(self, snapshot: SnapshotId) -> Path:
        return self._folder / f"{file_stem(snapshot)}.json"


def _look_of(stored: list[int]) -> Look:
    size, inode, modified, changed = stored
    return Look(size, inode, modified, changed)
