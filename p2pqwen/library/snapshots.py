"""The library: the snapshots a node holds, and the only code that installs, completes or removes one.

    library/<org>/<model>/<commit>/…         the payload
    library/<org>/<model>/<commit>.torrent   its torrent; the snapshot is held once this file exists
    library/<org>/<model>/<commit>.torrent.sha256   its SHA-256, as `sha256sum -c` reads it
    library/<org>/<model>/<commit>.partial   while files are missing: which files are wanted, and why not all

`library/` is the home's own folder. Each folder of `[library] folders`, on whatever disk, has the same layout
(`library.folders`). A snapshot is in one of them, whole.

Order of writes: a preserved snapshot is renamed into place, then gets its torrent. A fetched one gets its marker, then
its torrent, and loses the marker when everything wanted is verified. So a crash leaves either a folder without a
torrent (not held; the next attempt takes it back to staging) or a marker (incomplete; the next fetch resumes), never a
wrong "complete". `install` and `finish` mark a snapshot as complete. They sync the payload and its folders first,
because a power cut must not leave a torrent beside files of zeros. They also get the looks of the files at the time
they were verified (`library.verified`), and write those first; `Library.state` returns `changed` if the files look
different now.

A folder without a torrent may come from anywhere, such as a stranger's link that claimed the same commit. So its files
are only raw material. Files that do not belong to the snapshot are deleted when it is begun there (`make_folder`,
`stage`), and `install` accepts only verified files.

A held snapshot keeps its infohash and its proof. It is never replaced by a torrent of another infohash, nor by one
without the proof, even if that claims the same commit. Only `remove` makes room for another.
"""

from __future__ import annotations

import enum
import fnmatch
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.library import durable
from p2pqwen.library.checksummed import seal, unseal
from p2pqwen.library.folders import AwayError, AwaySnapshot, LibraryFolder, LibraryFolders
from p2pqwen.library.home import Home
from p2pqwen.library.own_files import Left, delete_own, set_aside_left
from p2pqwen.library.space import RESERVE, allocated
from p2pqwen.library.verified import Verified, VerifiedFiles
from p2pqwen.library.xet_hashes import XetHashes
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.near_names import did_you_mean
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import Owner, RepoId, RepoKind, SnapshotId
from p2pqwen.values.snapshot_place import file_stem, kind_parts
from p2pqwen.values.strict_json import JsonValue

if TYPE_CHECKING:
    from p2pqwen.library.torrent_reader import TorrentReader
    from p2pqwen.signing.keys import PublicKey
    from p2pqwen.torrent.checked import CheckedTorrent
    from p2pqwen.torrent.metainfo import Metainfo

MAX_MARKER_SIZE = 1 << 20
MAX_GLOBS = 10_000
_GONE = -2
_TIME_SETTLES = 2_000_000_000  # nanoseconds: coarser than the timestamps of any file system
_NO_KEYS: Mapping[Sha256, PublicKey] = MappingProxyType({})
Row = TypeVar("Row")
_TORRENT_NAME = re.compile(r"[0-9a-f]{40}\.torrent", re.ASCII)


class State(enum.StrEnum):
    """How much of a snapshot is held."""

    COMPLETE = "complete"
    PARTIAL = "partial"  # the files chosen with --include are here and verified
    INCOMPLETE = "incomplete"  # a fetch that has not finished
    CHANGED = "changed"  # was complete or partial; its files look different from when they were verified


def _new_reader() -> TorrentReader:
    from p2pqwen.library.torrent_reader import TorrentReader  # noqa: PLC0415 - heavy, and most commands read no torrent

    return TorrentReader()


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """A snapshot in the library. `selected` names the wanted files by glob, None for all of them.

    `torrents` returns the reader of its torrent.
    """

    id: SnapshotId
    folder: Path
    torrent_path: Path
    state: State
    selected: tuple[str, ...] | None = None
    torrents: Callable[[], TorrentReader] = field(default=_new_reader, repr=False, compare=False)

    @property
    def reader(self) -> TorrentReader:
        """The reader that parses its torrent and remembers it."""
        return self.torrents()

    def torrent_damage(self) -> tuple[Sha256 | None, Sha256] | None:
        """Return the SHA-256 that its torrent was written with and the current one, if they differ; raises `DiskError`.

        Hashes and signatures do not cover every bit of a torrent. They do not cover its web seeds, for example.
        """
        try:
            sealed = durable.read(seal_of(self.torrent_path), max_bytes=MAX_MARKER_SIZE)
        except NotFoundError:
            return None  # from an older version, or a crash came between the two writes
        got = Sha256.of(durable.read(self.torrent_path, max_bytes=MAX_TORRENT_BYTES))
        return None if sealed == _sealing(self.torrent_path, got) else (_sealed_digest(sealed), got)

    def require_torrent(self, metainfo: Metainfo) -> None:
        """Raise `VerificationError` if the snapshot here, whole or not, is of another torrent; it stays as it is.

        An unreadable torrent is no obstacle: it is reported elsewhere, and replaced.
        """
        with suppress(FormatError, NotFoundError):
            stored = self.metainfo()
            if stored.infohash != metainfo.infohash:
                raise VerificationError(
                    f"the library holds {self.id} from another torrent",
                    expected=metainfo.infohash.v2,
                    got=stored.infohash.v2,
                    hint=f"compare the two, then delete the held one with `p2pqwen remove {self.id}`",
                )

    def wants(self, path: RepoPath) -> bool:
        """Tell whether a file is wanted: in a partial snapshot, whether it was chosen."""
        return self.selected is None or any(fnmatch.fnmatchcase(path.text, glob) for glob in self.selected)

    def held_bytes(self, metainfo: Metainfo) -> int:
        """Return the bytes of the wanted files; during a fetch, roughly the bytes on the disk."""
        if self.state is not State.INCOMPLETE:
            return self.wanted_bytes(metainfo)
        files = [file for file in metainfo.files if self.wants(file.path)]
        return sum(min(file.size, allocated(self.folder / file.path.text)) for file in files)

    def wanted_bytes(self, metainfo: Metainfo) -> int:
        """Return the bytes of the wanted files, present or not."""
        return sum(file.size for file in metainfo.files if self.wants(file.path))

    def metainfo(self) -> Metainfo:
        """Read its torrent, but do not check what it claims; raises `FormatError`, `DiskError`."""
        return self.reader.metainfo(durable.read(self.torrent_path, max_bytes=MAX_TORRENT_BYTES))

    def torrent(self, keys: Mapping[Sha256, PublicKey] = _NO_KEYS) -> CheckedTorrent:
        """Read and check its torrent, and try its signatures with these keys.

        Raises `FormatError`, `DiskError`, and `VerificationError` if torrent and manifest contradict each other.
        """
        return self.reader.torrent(durable.read(self.torrent_path, max_bytes=MAX_TORRENT_BYTES), keys)


class Library:
    """The snapshots of one home, in its own folder and in further ones. `reserve` is that of the home's folder."""

    def __init__(self, home: Home, more: Sequence[LibraryFolder] = (), *, reserve: int = RESERVE) -> None:
        self._home = home
        self.verified = VerifiedFiles(home)
        self.xet_hashes = XetHashes(home)
        self._main = LibraryFolder(home.library, reserve, main=True)
        self._folders = LibraryFolders((self._main, *more), home.library_folders, home.locks / "folders.lock")
        self._orgs: dict[str, _Listing[tuple[str, Owner]]] = {}
        self._repos: dict[str, _Listing[tuple[str, RepoId]]] = {}
        self._read_repos: dict[str, _Listing[HeldSnapshot]] = {}
        self._last: _Scanned | None = None

    @cached_property
    def torrents(self) -> TorrentReader:
        """The reader of the torrents here, which remembers the last ones."""
        return _new_reader()

    @property
    def root(self) -> Path:
        """The home's own folder of organisations."""
        return self._main.root

    @property
    def folders(self) -> tuple[LibraryFolder, ...]:
        """The folders whose disks are connected."""
        return self._folders.present()

    @property
    def missing_folders(self) -> tuple[LibraryFolder, ...]:
        """The folders whose disks are not connected."""
        here = self.folders
        return tuple(one for one in self._folders.all if one not in here)

    @property
    def room(self) -> int:
        """The bytes that may be written in all, counting each disk once; raises `DiskError`."""
        return self._folders.room(self.claimed)

    def contains(self, path: Path) -> bool:
        """Tell whether a path is inside one of the folders."""
        return any(path.resolve().is_relative_to(one.root.resolve()) for one in self._folders.all)

    def away(self) -> list[AwaySnapshot]:
        """Return the snapshots whose disks are not connected, ordered like `all`."""
        found = [one for one in self._folders.away() if self._holder(one.id) is None]
        return sorted(found, key=lambda one: one.id)

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget a snapshot whose disk is not connected; its files stay there."""
        self._folders.forget(snapshot)

    def is_here(self, held: HeldSnapshot) -> bool:
        """Tell whether the disk of a snapshot is connected."""
        return any(held.folder.is_relative_to(one.root) for one in self.folders)

    def require_here(self, held: HeldSnapshot) -> None:
        """Raise `AwayError` if the disk of a snapshot is not connected: its files are not missing."""
        if not self.is_here(held):
            raise AwayError(held.id, held.folder)

    def folder(self, snapshot: SnapshotId) -> Path:
        """Return the folder of the payload; if there is none yet, its path in the home's own folder."""
        return (self._place(snapshot) or self._main).folder(snapshot)

    def torrent_path(self, snapshot: SnapshotId) -> Path:
        """Return the path of the .torrent file; if there is none yet, its path in the home's own folder."""
        return (self._place(snapshot) or self._main).torrent_path(snapshot)

    def require_room(self, path: Path, size: int) -> None:
        """Raise `DiskError` if `size` bytes, plus the reserve, do not fit in the library folder of `path`."""
        place = next((one for one in self.folders if path.is_relative_to(one.root)), self._main)
        place.require_room(size, claimed=self.claimed(place, besides=path))

    def lock_path(self, snapshot: SnapshotId) -> Path:
        """Return the lock that protects changes to this snapshot."""
        return self._home.locks / f"{file_stem(snapshot)}.lock"

    def all(self) -> list[HeldSnapshot]:
        """Return every held snapshot whose disk is connected, ordered by repository and commit."""
        folders, last = self.folders, self._last
        if last is None or last.folders != folders or any(_changed(path) != then for path, then in last.times):
            times: list[tuple[str, int]] = []
            found: dict[SnapshotId, HeldSnapshot] = {}
            for one in folders:
                for held in self._scan(one, times):
                    found.setdefault(held.id, held)
            last = self._last = _Scanned(folders, times, [found[snapshot] for snapshot in sorted(found)])
        return list(last.held)

    def find(self, repo: RepoId, commit: CommitId | None = None) -> HeldSnapshot:
        """Return one held snapshot; raises `NotFoundError`, or `P2pqwenError` if the commit must be named.

        Raises `AwayError` if it is on a disk that is not connected.
        """
        held = {one.id: one for one in self.of_repo(repo) if commit in {None, one.id.commit}}
        if not held:
            for away in self._folders.away():
                if away.id.repo == repo and commit in {None, away.id.commit}:
                    raise AwayError(away.id, away.folder)
            wanted = str(repo) if commit is None else f"{repo}@{commit}"
            guess = did_you_mean(
                repo, [*(one.id.repo for one in self.all()), *(one.id.repo for one in self._folders.away())]
            )
            raise NotFoundError(f"no snapshot of {wanted} in the library", hint=f"{guess}see `p2pqwen list`")
        if len(held) > 1:
            raise P2pqwenError(
                f"the library holds {plural(len(held), 'snapshot')} of {repo}",
                hint="name one: " + ", ".join(str(one) for one in sorted(held)),
            )
        return next(iter(held.values()))

    def of_repo(self, repo: RepoId) -> list[HeldSnapshot]:
        """Return the held snapshots of a repository whose disks are connected, ordered by commit."""
        found: dict[SnapshotId, HeldSnapshot] = {}
        for folder in self.folders:
            for held in self._scan_repo(folder, str(folder.save_path(repo)), repo).rows:
                found.setdefault(held.id, held)
        return [found[snapshot] for snapshot in sorted(found)]

    def get(self, snapshot: SnapshotId) -> HeldSnapshot | None:
        """Return this snapshot if it is held and its disk is connected."""
        place = self._holder(snapshot)
        if place is None:
            return None
        return self._read(place, place.torrent_path(snapshot), snapshot.repo)

    def of_commit(self, commit: CommitId) -> list[HeldSnapshot]:
        """Return the held snapshots of a commit, in any repository: anyone can claim a commit for any repository."""
        return [held for held in self.all() if held.id.commit == commit]

    def make_folder(
        self,
        snapshot: SnapshotId,
        files: Iterable[RepoPath],
        needed: Callable[[Path], int],
        beside: Path | None = None,
    ) -> Path:
        """Make and return the folder into which to fetch this snapshot, chosen by `LibraryFolders.choose`.

        If the snapshot is not held, everything in the folder except `files` is deleted.
        """
        place = self._choose(snapshot, needed, beside)
        folder = place.folder(snapshot)
        set_aside_left(place, snapshot)
        with durable.disk_errors(f"create {folder}"):
            self._make(folder)
        if self._holder(snapshot) is None:
            _leave_only(folder, files)
        return folder

    def stage(
        self,
        snapshot: SnapshotId,
        needed: Callable[[Path], int] = lambda _: 0,
        beside: Path | None = None,
        *,
        files: Iterable[RepoPath] | None = None,
    ) -> Path:
        """Return the folder in which to make this snapshot; `files` (None: all) of an interrupted attempt are kept.

        `LibraryFolders.choose` chooses where to begin a new one.
        """
        place = self._choose(snapshot, needed, beside)
        staged, orphan = place.staged(snapshot), place.folder(snapshot)
        set_aside_left(place, snapshot)
        with durable.disk_errors(f"create {staged}"):
            for path in (staged, orphan):
                if path.is_symlink() and not place.torrent_path(snapshot).exists():
                    path.unlink()  # it leads to a folder of the user's
        if orphan.is_dir() and not place.torrent_path(snapshot).exists() and not staged.exists():
            durable.rename(orphan, staged, shared=True)  # a crash between `install`'s two steps
        with durable.disk_errors(f"create {staged}"):
            self._make(staged)
        if files is not None:
            _leave_only(staged, files)
        return staged

    def _make(self, folder: Path) -> None:
        """Make a folder for payload, which others may read; the home around it stays private."""
        durable.make_folder(self._home.root)
        durable.make_folder(folder, shared=True)

    def staged(self, snapshot: SnapshotId) -> Path:
        """Return the path of the folder in which to make this snapshot; nothing is created."""
        return (self._place(snapshot) or self._main).staged(snapshot)

    def other_stages(self, snapshot: SnapshotId) -> list[Path]:
        """Return the folders of other commits of this repository that were begun and not finished."""
        staged = [path for one in self.folders for path in one.staged_of(snapshot.repo).glob("?" * 40)]
        return sorted(path for path in staged if path.name != str(snapshot.commit))

    def discard_stage(self, snapshot: SnapshotId) -> None:
        """Remove this snapshot's staging folder."""
        for one in self.folders:
            _remove_folder(one, one.staged(snapshot))

    def install(self, snapshot: SnapshotId, torrent: CheckedTorrent, verified: Verified) -> HeldSnapshot:
        """Move a verified staged snapshot into the library and write its torrent; raises `DiskError`, or as `begin`.

        Anything else that was staged is deleted. So is what unfinished attempts left at the target.
        """
        admitted = self._admit(snapshot, torrent)
        staged = self.stage(snapshot, files=verified.looks)
        durable.sync_tree(staged)
        self.make_way(snapshot)
        durable.rename(staged, self._here(snapshot).folder(snapshot), shared=True)
        self.verified.keep(snapshot, verified)
        return self._enter(admitted)

    def make_way(self, snapshot: SnapshotId) -> None:
        """Delete what unfinished attempts left at a staged snapshot's target; nothing if the snapshot is held."""
        if self._holder(snapshot) is None:
            place = self._here(snapshot)
            set_aside_left(place, snapshot)
            _delete(place.folder(snapshot))
            durable.remove(place.marker(snapshot))

    def begin(self, snapshot: SnapshotId, torrent: CheckedTorrent, selected: tuple[str, ...] | None) -> HeldSnapshot:
        """Enter a snapshot that is about to be fetched: incomplete until `finish`.

        Raises `VerificationError` if it is held from a torrent of another infohash, or from one that proves more.
        """
        admitted = self._admit(snapshot, torrent)
        self._mark(snapshot, State.INCOMPLETE, selected)
        return self._enter(admitted)

    def finish(
        self, snapshot: SnapshotId, torrent: CheckedTorrent, selected: tuple[str, ...] | None, verified: Verified
    ) -> HeldSnapshot:
        """Mark the snapshot as complete, or as partial if files were chosen: everything wanted is verified.

        Raises as `begin` does, before anything is written.
        """
        admitted = self._admit(snapshot, torrent)
        place = self._here(snapshot)
        durable.sync_tree(place.folder(snapshot))
        self.verified.keep(snapshot, verified)
        self._write_torrent(admitted)
        if selected is None:
            durable.remove(place.marker(snapshot))
        else:
            self._mark(snapshot, State.PARTIAL, selected)
        self.remember()
        return self._read(place, place.torrent_path(snapshot), snapshot.repo)

    def state(self, held: HeldSnapshot, infohash: Sha256, size: int) -> State:
        """Return the state of a snapshot by how its files look now.

        `infohash` (v2) and `size` (bytes of all its files) are its torrent's. This asks the file system about every
        file: use it for people and for scrubbing, not in every round of a node.
        """
        if held.state is State.INCOMPLETE:
            return held.state
        known = self.verified.of(held.id)
        whole = known is not None and known.infohash == infohash
        if held.state is State.COMPLETE:
            whole = whole and known is not None and known.size == size
        return held.state if whole and known is not None and known.same_content(held.folder) else State.CHANGED

    def scratch(self, snapshot: SnapshotId) -> Path:
        """Return the folder for data on its way into this snapshot's folder; the caller empties it."""
        return self._here(snapshot).staging / f".{file_stem(snapshot)}"

    def replace_torrent(self, snapshot: SnapshotId, torrent: CheckedTorrent) -> None:
        """Overwrite the torrent with one that has more signatures or seeds.

        Raises as `begin` does, and `NotFoundError` if the snapshot is no longer held.
        """
        if self._holder(snapshot) is None:
            raise NotFoundError(f"{snapshot} is no longer in the library")
        self._write_torrent(self._admit(snapshot, torrent))

    def remove(self, held: HeldSnapshot) -> tuple[Left, ...]:
        """Delete a snapshot; the torrent goes first, so that an interrupted removal leaves no held snapshot.

        Only its own files are deleted: other files in its folder stay, and are returned.
        """
        with durable.lock(self.lock_path(held.id)):
            self.require_here(held)
            place = next(one for one in self.folders if held.folder.is_relative_to(one.root))
            names = self._own_names(held)
            reason = "none of the snapshot's files" if names else "no torrent says whose file it is"

            def release() -> None:
                durable.remove(held.torrent_path)
                durable.remove(seal_of(held.torrent_path))
                durable.remove(place.marker(held.id))

            left = delete_own(
                place, held.id, names, take=lambda name: Left(held.folder / name, reason), release=release
            )
            self.xet_hashes.forget(held.id)
        self.remember()
        return left

    def _own_names(self, held: HeldSnapshot) -> frozenset[str]:
        """Return the paths of a snapshot's files: those in its torrent, and those that were verified here."""
        known = self.verified.of(held.id)
        names = {path.text for path in known.looks} if known is not None else set[str]()
        with suppress(FormatError, NotFoundError):
            names |= {file.path.text for file in held.metainfo().files}
        return frozenset(names)

    def remember(self, held: Iterable[HeldSnapshot] | None = None) -> None:
        """Write down what is on the connected disks (`held`: what `all` just returned), for when one is gone."""
        folders = self.folders
        if len(folders) == 1 and folders[0].main:
            return
        known = {one.id: one for one in (self.all() if held is None else held)}
        by_folder = {
            folder: [one.id for one in known.values() if one.folder.is_relative_to(folder.root)] for folder in folders
        }
        self._folders.remember(by_folder, lambda snapshot: _size(known[snapshot]))

    def _enter(self, admitted: _Admitted) -> HeldSnapshot:
        place = self._here(admitted.snapshot)
        self._write_torrent(admitted)
        self.remember()
        return self._read(place, place.torrent_path(admitted.snapshot), admitted.snapshot.repo)

    def _write_torrent(self, admitted: _Admitted) -> None:
        _write_torrent(self._here(admitted.snapshot).torrent_path(admitted.snapshot), admitted.data)
        self.torrents.remember(admitted.data, admitted.torrent)

    def _admit(self, snapshot: SnapshotId, torrent: CheckedTorrent) -> _Admitted:
        """Admit a torrent; raises `VerificationError` if an undamaged one is held that differs or proves more.

        An unreadable torrent is no obstacle.
        """
        held = self.get(snapshot)
        if held is not None and held.torrent_damage() is None:
            with suppress(FormatError):
                _refuse_another(held, held.metainfo(), torrent)
        return _Admitted(snapshot, torrent, torrent.metainfo.encode())

    def _place(self, snapshot: SnapshotId) -> LibraryFolder | None:
        """Return the folder that holds a snapshot, else the one in which it was begun."""
        if (holder := self._holder(snapshot)) is not None:
            return holder
        here = self.folders
        if len(here) == 1:
            return here[0]
        return next((one for one in here if one.folder(snapshot).is_dir() or one.staged(snapshot).is_dir()), None)

    def claimed(self, place: LibraryFolder, besides: Path | None = None) -> int:
        """Return the bytes that unfinished fetches, except the one at `besides`, will still write in a folder."""
        unfinished = [one for one in self._scan(place) if one.state is State.INCOMPLETE and one.folder != besides]
        return sum(map(_outstanding, unfinished))

    def _holder(self, snapshot: SnapshotId) -> LibraryFolder | None:
        return next((one for one in self.folders if one.torrent_path(snapshot).is_file()), None)

    def _here(self, snapshot: SnapshotId) -> LibraryFolder:
        return self._place(snapshot) or self._choose(snapshot, lambda _: 0, None)

    def _choose(self, snapshot: SnapshotId, needed: Callable[[Path], int], beside: Path | None) -> LibraryFolder:
        if (away := next((one for one in self.away() if one.id == snapshot), None)) is not None:
            raise AwayError(snapshot, away.folder)
        return self._place(snapshot) or self._folders.choose(needed, beside, self.claimed)

    def _mark(self, snapshot: SnapshotId, state: State, selected: tuple[str, ...] | None) -> None:
        chosen: list[JsonValue] | None = None if selected is None else list(selected)
        durable.write(
            self._here(snapshot).marker(snapshot), seal({"state": state.value, "selected": chosen}), mode=durable.SHARED
        )

    def _scan(self, place: LibraryFolder, times: list[tuple[str, int]] | None = None) -> Iterator[HeldSnapshot]:
        """Yield what a folder holds; append every folder that was read to `times`, with its time."""
        times = [] if times is None else times
        for kind in RepoKind:
            parent = str(place.root.joinpath(*kind_parts(kind)))
            orgs = self._orgs_in(parent, kind)
            times.append((parent, orgs.changed))
            for org, owner in orgs.rows:
                repos = self._repos_in(org, owner)
                times.append((org, repos.changed))
                for folder, repo in repos.rows:
                    held = self._scan_repo(place, folder, repo)
                    times.append((folder, held.changed))
                    yield from held.rows

    def _orgs_in(self, parent: str, kind: RepoKind) -> _Listing[tuple[str, Owner]]:
        def read() -> Iterator[tuple[str, Owner]]:
            for folder in _folders_in(parent):
                with suppress(FormatError):  # not an organisation: a user's folder, or that of a kind
                    yield folder, Owner(os.path.basename(folder), kind)  # noqa: PTH119 - quick, as `os.stat` below

        return _if_changed(self._orgs, parent, read)

    def _repos_in(self, parent: str, owner: Owner) -> _Listing[tuple[str, RepoId]]:
        def read() -> Iterator[tuple[str, RepoId]]:
            for folder in _folders_in(parent):
                with suppress(FormatError):
                    yield folder, RepoId(f"{owner.name}/{os.path.basename(folder)}", owner.kind)  # noqa: PTH119

        return _if_changed(self._repos, parent, read)

    def _scan_repo(self, place: LibraryFolder, folder: str, repo: RepoId) -> _Listing[HeldSnapshot]:
        def read() -> Iterator[HeldSnapshot]:
            found = [path for path in Path(folder).iterdir() if _TORRENT_NAME.fullmatch(path.name)]
            return (self._read(place, path, repo) for path in found)

        return _if_changed(self._read_repos, folder, read)

    def _read(self, place: LibraryFolder, torrent_path: Path, repo: RepoId) -> HeldSnapshot:
        snapshot = SnapshotId(repo, CommitId.parse(torrent_path.stem))
        try:
            state, selected = _read_marker(place.marker(snapshot))
        except NotFoundError:  # no check beforehand: another thread's fetch may finish in between
            state, selected = State.COMPLETE, None
        return HeldSnapshot(snapshot, place.folder(snapshot), torrent_path, state, selected, lambda: self.torrents)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A torrent that may be written where a snapshot is, or will be, held; only `Library._admit` makes one."""

    snapshot: SnapshotId
    torrent: CheckedTorrent
    data: bytes


@dataclass(frozen=True, slots=True)
class _Listing(Generic[Row]):
    """What a folder held when it was read.

    `changed`: its modification time then, in nanoseconds; -1 if it may change without a new time, `_GONE` if missing.
    """

    changed: int
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class _Scanned:
    """What all folders held. `times`: every folder that was read, with its time as in `_Listing`, to detect changes."""

    folders: tuple[LibraryFolder, ...]
    times: list[tuple[str, int]]
    held: list[HeldSnapshot]


def _if_changed(known: dict[str, _Listing[Row]], folder: str, read: Callable[[], Iterator[Row]]) -> _Listing[Row]:
    """Read a folder unless its time is unchanged: whatever enters or leaves a folder changes it."""
    changed, before = _changed(folder), known.get(folder)
    if before is not None and before.changed == changed:
        return before
    if changed != _GONE:
        settled = time.time_ns() - changed > _TIME_SETTLES
        with suppress(OSError):
            known[folder] = _Listing(changed if settled else -1, list(read()))
            return known[folder]
    known.pop(folder, None)
    return _Listing(_GONE, [])


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - called thousands of times a second
    except OSError:
        return _GONE


def _folders_in(parent: str) -> Iterator[str]:
    with os.scandir(parent) as entries:
        yield from (one.path for one in entries if _is_folder(one) and not one.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or one to where we may not look; its neighbours still count
        return False


def seal_of(torrent_path: Path) -> Path:
    """Return the file with a torrent's SHA-256, as `sha256sum -c` reads it."""
    return torrent_path.with_name(torrent_path.name + ".sha256")


def _write_torrent(path: Path, torrent: bytes) -> None:
    """Write a torrent and its seal; in between there is no seal, so that a crash does not look like damage."""
    durable.remove(seal_of(path))
    durable.write(path, torrent, mode=durable.SHARED)
    durable.write(seal_of(path), _sealing(path, Sha256.of(torrent)), mode=durable.SHARED)


def _sealing(path: Path, digest: Sha256) -> bytes:
    return f"{digest}  {path.name}\n".encode()


def _sealed_digest(sealed: bytes) -> Sha256 | None:
    try:
        return Sha256.parse(sealed[:64].decode("ascii", "replace"))
    except FormatError:
        return None


def _refuse_another(held: HeldSnapshot, stands: Metainfo, torrent: CheckedTorrent) -> None:
    hint = f"`p2pqwen remove {held.id}` deletes the held one"
    if torrent.infohash != stands.infohash:
        what = f"the library holds {held.id} from another torrent, which is kept"
        raise VerificationError(what, expected=stands.infohash.v2, got=torrent.infohash.v2, hint=hint)
    keeps = torrent.metainfo.manifest == stands.manifest or torrent.provenance is Provenance.PROVEN
    if not keeps and _is_proven(held):
        what = f"the library holds {held.id} with the proof of its commit, which is kept"
        raise VerificationError(what, expected="a torrent with that proof", got="one without", hint=hint)


def _is_proven(held: HeldSnapshot) -> bool:
    try:
        return held.torrent().provenance is Provenance.PROVEN
    except VerificationError:
        return False


def _delete(folder: Path) -> None:
    with durable.disk_errors(f"remove {folder}"):
        if folder.is_dir():
            shutil.rmtree(folder)  # does not follow symlinks


def _remove_folder(place: LibraryFolder, folder: Path) -> None:
    """Delete a folder, and the folders above it that are then empty."""
    _delete(folder)
    for parent in (folder.parent, folder.parent.parent):
        if parent != place.root:
            with suppress(OSError):  # not empty, or gone
                parent.rmdir()


def _leave_only(folder: Path, files: Iterable[RepoPath]) -> None:
    """Delete everything below a folder except files of these names; links go too. Raises `DiskError`."""
    if folder.is_symlink():
        return  # it leads to a folder of the user's, where nothing is written either
    names = {path.text for path in files}
    parents: set[str] = set()
    for name in names:
        parent = name
        while (parent := parent.rpartition("/")[0]) and parent not in parents:
            parents.add(parent)
    with durable.disk_errors(f"clear {folder}"):
        for here, folders, found in os.walk(folder):  # does not follow symlinks
            below = Path(here).relative_to(folder).as_posix()
            prefix = "" if below == "." else f"{below}/"
            for name in folders:
                path = Path(here, name)
                if path.is_symlink():
                    path.unlink()
                elif f"{prefix}{name}" not in parents:
                    shutil.rmtree(path)
            for name in found:
                path_text = f"{here}{os.sep}{name}"
                if f"{prefix}{name}" not in names or os.path.islink(path_text):  # noqa: PTH114 - for each of many files
                    Path(path_text).unlink()
            folders[:] = [name for name in folders if Path(here, name).is_dir()]


def _outstanding(held: HeldSnapshot) -> int:
    try:
        files = held.metainfo().layout.files
    except P2pqwenError:
        return 0
    wanted = [file for file in files if held.wants(file.path)]
    return sum(max(0, file.size - allocated(held.folder / file.path.text)) for file in wanted)


def _size(held: HeldSnapshot) -> int:
    try:
        return held.wanted_bytes(held.metainfo())
    except P2pqwenError:
        return 0


def _read_marker(path: Path) -> tuple[State, tuple[str, ...] | None]:
    """Read a marker; an unreadable one means that nothing is known to be finished."""
    try:
        value = unseal(durable.read(path, max_bytes=MAX_MARKER_SIZE), max_bytes=MAX_MARKER_SIZE)
        selected = None if value["selected"] is None else json_fields.texts(value, "selected", limit=MAX_GLOBS)
        state = State(json_fields.text(value, "state"))
    except (ValueError, KeyError, FormatError, DiskError):
        return State.INCOMPLETE, None
    return (state if state is State.PARTIAL else State.INCOMPLETE), selected
