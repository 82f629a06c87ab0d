"""Which files of a snapshot were verified, and how they looked on disk then.

    verified/<org>--<model>@<commit>.json

While size, inode, modification and change time are the same, nobody has written to a file through the file system, so
it need not be read again to be believed. Rotten sectors do not show here: that is what scrubbing is for. Anything
unreadable or different counts as "not verified" and costs a reading, nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import file_stem

MAX_RECORD_SIZE = 64 << 20


class VerifiedFiles:
    """The records under one home."""

    def __init__(self, home: Home) -> None:
        self._folder = home.verified

    def record(self, snapshot: SnapshotId, infohash: Sha256, folder: Path, files: Iterable[RepoPath]) -> None:
        """Note that these files were just verified against this torrent; raises `DiskError`."""
        looks = {}
        for path in files:
            with durable.disk_errors(f"look at {folder / path.text}"):
                looks[path.text] = _look(folder / path.text)
        document = {"infohash": str(infohash), "files": looks}
        durable.write(self._path(snapshot), json.dumps(document).encode())

    def unchanged(self, snapshot: SnapshotId, infohash: Sha256, folder: Path, files: Iterable[RepoPath]) -> bool:
        """Tell whether every one of these files was verified and looks as it did then."""
        try:
            document = json.loads(durable.read(self._path(snapshot), max_bytes=MAX_RECORD_SIZE))
            known = document["files"] if document["infohash"] == str(infohash) else {}
            return all(known[path.text] == _look(folder / path.text) for path in files)
        except (NotFoundError, DiskError, FormatError, OSError, ValueError, KeyError, TypeError):
            return False

    def infohash(self, snapshot: SnapshotId) -> Sha256 | None:
        """Return the v2 infohash of the torrent it was verified against last; None if that is not known."""
        try:
            document = json.loads(durable.read(self._path(snapshot), max_bytes=MAX_RECORD_SIZE))
            return Sha256.parse(document["infohash"])
        except (NotFoundError, DiskError, FormatError, ValueError, KeyError, TypeError):
            return None

    def stamp(self, snapshot: SnapshotId) -> int:
        """Return when a snapshot's record was written, in nanoseconds; 0 if there is none."""
        path = self._path(snapshot)
        return path.stat().st_mtime_ns if path.is_file() else 0

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget what was verified; raises `DiskError`."""
        durable.remove(self._path(snapshot))

    def _path(self, snapshot: SnapshotId) -> Path:
        return self._folder / f"{file_stem(snapshot)}.json"


def _look(path: Path) -> list[int]:
    stat = path.lstat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
