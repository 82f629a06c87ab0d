"""The library: the snapshots a node holds, and the only code that installs, completes or removes one.

    library/<org>/<model>/<commit>/…         the payload
    library/<org>/<model>/<commit>.torrent   its torrent; the snapshot is held once this file stands
    library/<org>/<model>/<commit>.partial   while not every file is there: which files are wanted, and why not all

Order of writes: a preserved snapshot is renamed into place and then gets its torrent; a fetched one gets its marker,
then its torrent, and loses the marker when everything wanted is verified. So a crash leaves a folder without a torrent
(not held; taken back to staging by the next try) or a marker (incomplete; the next fetch goes on), never a wrong
"complete".
"""

from __future__ import annotations

import enum
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.torrent.metainfo import MAX_TORRENT_BYTES, Metainfo, parse_metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

MAX_MARKER_SIZE = 1 << 20
_TORRENT_NAME = re.compile(r"[0-9a-f]{40}\.torrent", re.ASCII)


class State(enum.StrEnum):
    """How much of a snapshot is here."""

    COMPLETE = "complete"
    PARTIAL = "partial"  # the files chosen with --include are here and verified
    INCOMPLETE = "incomplete"  # a fetch that has not finished


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """A snapshot in the library. `selected` names the wanted files by glob, None for all of them."""

    id: SnapshotId
    folder: Path
    torrent_path: Path
    state: State
    selected: tuple[str, ...] | None = None

    def metainfo(self) -> Metainfo:
        """Read its torrent; raises `FormatError`, `DiskError`."""
        return parse_metainfo(durable.read(self.torrent_path, max_bytes=MAX_TORRENT_BYTES))


class Library:
    """The snapshots under one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def root(self) -> Path:
        """The folder of organisations."""
        return self._home.library

    def folder(self, snapshot: SnapshotId) -> Path:
        """Return where the payload stands."""
        return self.save_path(snapshot.repo) / str(snapshot.commit)

    def save_path(self, repo: RepoId) -> Path:
        """Return the torrent's save path: the folder that holds `<commit>/`."""
        return self.root / repo.org / repo.model

    def torrent_path(self, snapshot: SnapshotId) -> Path:
        """Return where the torrent stands."""
        return self.save_path(snapshot.repo) / f"{snapshot.commit}.torrent"

    def lock_path(self, snapshot: SnapshotId) -> Path:
        """Return the lock that whoever changes this snapshot holds."""
        return self._home.locks / f"{snapshot.repo.org}--{snapshot.repo.model}@{snapshot.commit}.lock"

    def all(self) -> list[HeldSnapshot]:
        """Return every held snapshot, ordered by repository and commit."""
        return sorted(self._scan(), key=lambda held: held.id)

    def find(self, repo: RepoId, commit: CommitId | None = None) -> HeldSnapshot:
        """Return one held snapshot; raises `NotFoundError`, or `P2pqwenError` where the commit must be named."""
        held = [one for one in self._scan_repo(self.save_path(repo), repo) if commit in {None, one.id.commit}]
        if not held:
            wanted = repo.text if commit is None else f"{repo}@{commit}"
            raise NotFoundError(f"no snapshot of {wanted} in the library", hint="see `p2pqwen list`")
        if len(held) > 1:
            raise P2pqwenError(
                f"the library holds {len(held)} snapshots of {repo}",
                hint="name one: " + ", ".join(str(one.id) for one in sorted(held, key=lambda one: one.id)),
            )
        return held[0]

    def get(self, snapshot: SnapshotId) -> HeldSnapshot | None:
        """Return this snapshot if it is held."""
        return self._read(self.torrent_path(snapshot), snapshot.repo) if self.torrent_path(snapshot).is_file() else None

    def find_commit(self, commit: CommitId) -> HeldSnapshot | None:
        """Return the held snapshot of a commit, whatever its repository."""
        return next((held for held in self._scan() if held.id.commit == commit), None)

    def stage(self, snapshot: SnapshotId) -> Path:
        """Return the folder in which this snapshot is made; what an interrupted try left there is kept."""
        staged = self.staged(snapshot)
        orphan = self.folder(snapshot)
        if orphan.is_dir() and not self.torrent_path(snapshot).exists() and not staged.exists():
            durable.rename(orphan, staged)  # a crash between `install`'s two steps
        with durable.disk_errors(f"create {staged}"):
            staged.mkdir(parents=True, exist_ok=True)
        return staged

    def staged(self, snapshot: SnapshotId) -> Path:
        """Return where this snapshot would be made; nothing is created."""
        return self._home.staging / snapshot.repo.org / snapshot.repo.model / str(snapshot.commit)

    def discard_stage(self, snapshot: SnapshotId) -> None:
        """Remove what was staged for this snapshot."""
        self._remove_folder(self.staged(snapshot))

    def install(self, snapshot: SnapshotId, torrent: bytes) -> HeldSnapshot:
        """Move a verified staged snapshot into the library and give it its torrent; raises `DiskError`."""
        durable.rename(self.stage(snapshot), self.folder(snapshot))
        durable.write(self.torrent_path(snapshot), torrent)
        return HeldSnapshot(snapshot, self.folder(snapshot), self.torrent_path(snapshot), State.COMPLETE)

    def begin(self, snapshot: SnapshotId, torrent: bytes, selected: tuple[str, ...] | None) -> HeldSnapshot:
        """Enter a snapshot that is about to be fetched: incomplete until `finish`."""
        self._mark(snapshot, State.INCOMPLETE, selected)
        durable.write(self.torrent_path(snapshot), torrent)
        return HeldSnapshot(snapshot, self.folder(snapshot), self.torrent_path(snapshot), State.INCOMPLETE, selected)

    def finish(self, snapshot: SnapshotId, torrent: bytes, selected: tuple[str, ...] | None) -> HeldSnapshot:
        """Say that everything wanted is here and verified: complete, or partial where files were chosen."""
        durable.write(self.torrent_path(snapshot), torrent)
        if selected is None:
            durable.remove(self._marker(snapshot))
            return HeldSnapshot(snapshot, self.folder(snapshot), self.torrent_path(snapshot), State.COMPLETE)
        self._mark(snapshot, State.PARTIAL, selected)
        return HeldSnapshot(snapshot, self.folder(snapshot), self.torrent_path(snapshot), State.PARTIAL, selected)

    def replace_torrent(self, snapshot: SnapshotId, torrent: bytes) -> None:
        """Write a torrent with more signatures or seeds over the old one of the same infohash."""
        durable.write(self.torrent_path(snapshot), torrent)

    def remove(self, held: HeldSnapshot) -> None:
        """Delete a snapshot; the torrent goes first, so that half a removal is no longer "held"."""
        with durable.lock(self.lock_path(held.id)):
            durable.remove(held.torrent_path)
            durable.remove(self._marker(held.id))
            self._remove_folder(held.folder)

    def _marker(self, snapshot: SnapshotId) -> Path:
        return self.save_path(snapshot.repo) / f"{snapshot.commit}.partial"

    def _mark(self, snapshot: SnapshotId, state: State, selected: tuple[str, ...] | None) -> None:
        chosen = None if selected is None else list(selected)
        data = json.dumps({"state": state.value, "selected": chosen}).encode()
        durable.write(self._marker(snapshot), data)

    def _scan(self) -> Iterator[HeldSnapshot]:
        for org in _folders(self.root):
            for model in _folders(org):
                try:
                    repo = RepoId(f"{org.name}/{model.name}")
                except FormatError:
                    continue  # somebody else's folder
                yield from self._scan_repo(model, repo)

    def _scan_repo(self, folder: Path, repo: RepoId) -> Iterator[HeldSnapshot]:
        if folder.is_dir():
            for path in folder.iterdir():
                if _TORRENT_NAME.fullmatch(path.name):
                    yield self._read(path, repo)

    def _read(self, torrent_path: Path, repo: RepoId) -> HeldSnapshot:
        snapshot = SnapshotId(repo, CommitId.parse(torrent_path.stem))
        state, selected = State.COMPLETE, None
        if (marker := self._marker(snapshot)).exists():
            state, selected = _read_marker(marker)
        return HeldSnapshot(snapshot, self.folder(snapshot), torrent_path, state, selected)

    def _remove_folder(self, folder: Path) -> None:
        with durable.disk_errors(f"remove {folder}"):
            if folder.is_dir():
                shutil.rmtree(folder)  # follows no symlink out of the folder
            for parent in (folder.parent, folder.parent.parent):
                if parent != self.root and parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_marker(path: Path) -> tuple[State, tuple[str, ...] | None]:
    """Read a marker; one that cannot be read means that nothing is known to be finished."""
    try:
        value = json.loads(durable.read(path, max_bytes=MAX_MARKER_SIZE))
        selected = None if value["selected"] is None else tuple(str(glob) for glob in value["selected"])
        return State(value["state"]), selected
    except (ValueError, KeyError, TypeError, FormatError):
        return State.INCOMPLETE, None
