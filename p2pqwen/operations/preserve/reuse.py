"""Content that is already here: files of other held snapshots and of the Hugging Face cache, and how they are shared.

A manifest's SHA-256 is only a reason to read a file: a stranger may have written it. What counts is every hash of the
torrent that will own the file (`file_check`). Sharing comes last, after the download: `share` gives a held file a
second name only while we hold the lock of its own snapshot, so that no repair writes to it, and only if it has not
changed since it was read. The Hugging Face cache is the user's, and other programs write there: its files are read and
copied, the copies are hashed, and no file gets a second name.
"""

from __future__ import annotations

import enum
import itertools
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library import durable
from p2pqwen.library.durable import LockHeldError
from p2pqwen.library.hashing import FileChangedError, FileDigests, hash_file
from p2pqwen.library.linking import Placement, place
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.verified import Look
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.verify.file_check import difference, right_bytes
from p2pqwen.portable.files import allocated
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

_SEARCH_BYTES_FOR = 64
"""Up to this many hashes are sought in a torrent's bytes before it is parsed, which is a hundred times as fast."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file of a held snapshot that may have the wanted content; none of this is trusted."""

    owner: SnapshotId
    name: RepoPath
    path: Path


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file of the Hugging Face cache, links followed, that may have the wanted content; it is only ever read."""

    path: Path


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that was read for a place in a torrent: its digests and its `source`, None if it is in that place."""

    source: HeldFile | CachedFile | None
    digests: FileDigests

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.digests.size


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What this disk has of a torrent's files besides what a download of it left; none of it may be written to.

    `had` files are right under every hash; `mendable` ones in at least half of their bytes, so they are worth a copy to
    begin with.
    """

    had: Mapping[RepoPath, Candidate] = field(default_factory=dict)
    mendable: Mapping[RepoPath, Candidate] = field(default_factory=dict)

    @property
    def linked(self) -> list[int]:
        """The sizes in bytes of the files that come from other snapshots."""
        return [one.size for one in self.had.values() if isinstance(one.source, HeldFile)]

    @property
    def cached(self) -> list[int]:
        """The sizes in bytes of the files that come from the Hugging Face cache."""
        return [one.size for one in self.had.values() if isinstance(one.source, CachedFile)]

    @property
    def reused(self) -> int:
        """The bytes that need not be downloaded."""
        return sum(self.linked) + sum(self.cached)


@dataclass(frozen=True, slots=True)
class Shared:
    """How a file's bytes came to a second place. `certain`: they are the bytes that were read before."""

    how: Placement
    certain: bool


class Search:
    """Looks for the files of one torrent on this disk, and reads each candidate once. Methods raise `DiskError`.

    `cache` is the Hugging Face cache, None to leave it alone.
    """

    def __init__(
        self,
        snapshot: SnapshotId,
        metainfo: Metainfo,
        manifest: Manifest | None,
        library: Library,
        report: Report = ignore,
        *,
        cache: HubCache | None = None,
    ) -> None:
        self._snapshot, self._metainfo, self._library, self._report = snapshot, metainfo, library, report
        self._cache = cache
        self._rows = {} if manifest is None else {row.path: row for row in manifest.files}
        self._index = {file.path: index for index, file in enumerate(metainfo.files)}
        self._read: dict[tuple[Path, RepoPath], FileDigests | None] = {}
        self._refused: set[tuple[Path, RepoPath]] = set()
        self._total = self._done = 0  # bytes of candidates to read, and read

    def may_have(self, wanted: Collection[RepoPath], folder: Path) -> bool:
        """Tell, without reading, whether each of these files may be on this disk already."""
        found = self._candidates(wanted, folder)
        return all(path in found for path in wanted if self._size(path))

    def where(self, path: RepoPath, folder: Path) -> HeldFile | CachedFile | None:
        """Return, without reading, what may have the content of this file; None if only the file itself may."""
        found = self._candidates([path], folder).get(path, ())
        return next((source for _, source in found if source is not None), None)

    def find(self, wanted: Collection[RepoPath], folder: Path) -> OnDisk:
        """Read what may be one of the wanted files; `folder` is where they go.

        A file that is there under a single name is the download's own, and is left to it.
        """
        candidates = self._candidates(wanted, folder)
        self._total = sum(self._size(path) for path in candidates)
        self._done = 0
        had: dict[RepoPath, Candidate] = {}
        mendable: dict[RepoPath, Candidate] = {}
        for path, sources in candidates.items():
            for location, source in sources:
                digests = self._digests(location, path)
                if digests is None:
                    continue
                candidate = Candidate(source, digests)
                if difference(self._metainfo, self._index[path], self._rows.get(path), digests) is None:
                    had[path] = candidate
                    break
                if 2 * right_bytes(self._metainfo, self._index[path], digests) >= digests.size:
                    mendable.setdefault(path, candidate)
        return OnDisk(had, {path: one for path, one in mendable.items() if path not in had})

    def refuse(self, folder: Path, path: RepoPath, candidate: Candidate) -> None:
        """Refuse a candidate from now on: it has changed since it was read."""
        location = folder / path.text if candidate.source is None else candidate.source.path
        self._refused.add((location, path))

    def _candidates(
        self, wanted: Collection[RepoPath], folder: Path
    ) -> dict[RepoPath, list[tuple[Path, HeldFile | CachedFile | None]]]:
        standing = {path: _ownership(folder / path.text, self._size(path)) for path in wanted if self._size(path)}
        lacking = [path for path, how in standing.items() if how is not _Ownership.OWN]
        rows = [self._rows[path] for path in lacking if path in self._rows]
        held = held_content(self._library, {row.sha256 for row in rows}, near=self._snapshot)
        found: dict[RepoPath, list[tuple[Path, HeldFile | CachedFile | None]]] = {}
        for path in lacking:
            sources: list[tuple[Path, HeldFile | CachedFile | None]] = []
            if standing[path] is _Ownership.SHARED:
                sources.append((folder / path.text, None))
            if path in self._rows and (other := held.get(self._rows[path].sha256)) is not None:
                sources.append((other.path, other))
            if (cached := self._in_cache(path)) is not None:
                sources.append((cached.path, cached))
            if sources := [one for one in sources if (one[0], path) not in self._refused]:
                found[path] = sources
        return found

    def _in_cache(self, path: RepoPath) -> CachedFile | None:
        if self._cache is None or path not in self._rows:
            return None
        found = self._cache.find(self._snapshot.repo, self._rows[path])
        return None if found is None else CachedFile(found.resolve())

    def _digests(self, location: Path, path: RepoPath) -> FileDigests | None:
        """Read a candidate, unless it was read before and looks the same; None if it cannot be read."""
        key = location, path
        known = self._read.get(key)
        try:
            if known is not None and known.look is not None and known.look.same_content(Look.of(location)):
                return known
            self._read[key] = self._hash(location, path)
        except (FileChangedError, DiskError, OSError):
            self._read[key] = None
        return self._read[key]

    def _hash(self, location: Path, path: RepoPath) -> FileDigests:
        index, row = self._index[path], self._rows.get(path)
        layout = self._metainfo.layout

        def on_bytes(count: int) -> None:
            self._done += count
            self._report(Progress("check", min(self._done, self._total), self._total))

        return hash_file(
            location,
            piece_length=layout.piece_length,
            padded=layout.pad_after(index) > 0,
            git_blob=row is None or not row.lfs,
            on_bytes=on_bytes,
        )

    def _size(self, path: RepoPath) -> int:
        return self._metainfo.layout.files[self._index[path]].size


def separate(
    snapshot: SnapshotId, metainfo: Metainfo, wanted: Collection[RepoPath], here: OnDisk, folder: Path, library: Library
) -> bool:
    """Unshare every file below `folder` that a download of `wanted` would write to; tell whether any changed.

    Symlinks are removed. A wrong file with a second name is replaced by a copy if that is worth it, and otherwise
    unlinked. Raises `DiskError`.
    """
    changed = False
    with durable.disk_errors(f"separate files below {folder}"), _scratch(snapshot, library) as scratch:
        changed = remove_links(folder, metainfo)
        for file in metainfo.files:
            path = folder / file.path.text
            if file.path not in wanted or file.path in here.had:
                continue
            mendable = here.mendable.get(file.path)
            if _is_shared(path) or (mendable is not None and not path.exists()):
                changed = True
                source = None if mendable is None else path if mendable.source is None else mendable.source.path
                _replace_by_copy(source, path, next(scratch))
            if path.is_file() and path.stat().st_size > file.size:
                os.truncate(path, file.size)  # pieces end where the file should: nothing else would cut the rest off
                changed = True
    return changed


def remove_links(folder: Path, metainfo: Metainfo) -> bool:
    """Remove symlinks where the torrent's files or their folders go: never ours, and a write would follow them."""
    removed = False
    for file in metainfo.files:
        path = folder
        for part in file.path.parts:
            path /= part
            if path.is_symlink():
                path.unlink()
                removed = True
    return removed


def take(
    snapshot: SnapshotId, metainfo: Metainfo, here: OnDisk, folder: Path, library: Library, search: Search
) -> dict[RepoPath, FileDigests]:
    """Put the files that were found in place, after the torrent has left the session, and return their digests.

    A file that has changed since it was read is left out, and refused from now on. Raises `DiskError`.
    """
    taken = {}
    touched = {folder}
    with _scratch(snapshot, library) as scratch:
        for path, candidate in here.had.items():
            target = folder / path.text
            if _take_one(metainfo, path, candidate, target, next(scratch), library):
                taken[path] = candidate.digests
                touched |= {one for one in target.parents if one.is_relative_to(folder)}
            else:
                search.refuse(folder, path, candidate)
    with durable.disk_errors(f"write {folder}"):
        for one in touched:
            durable.sync_folder(one)
    return taken


def share(source: HeldFile, target: Path, library: Library, *, look: Look | None = None) -> Shared | None:
    """Create `target` from a held file: a reflink, else a second name, else a copy.

    Return None if the snapshot is no longer held, or the file no longer looks as it did (`look`). While another command
    works on that snapshot, its file gets no second name, and the copy is not certain. Raises `DiskError`.
    """
    try:
        with durable.lock(library.lock_path(source.owner)):
            held = library.get(source.owner)
            if held is None or held.state is State.INCOMPLETE or not _looks(source.path, look):
                return None
            with library.verified.naming(source.owner, held.folder, [source.name]):
                how = place(source.path, target, allow_hard_link=True)
            if not _looks(source.path, look):
                target.unlink()
                return None
            return Shared(how, certain=look is not None)
    except LockHeldError:
        return Shared(place(source.path, target), certain=False) if source.path.is_file() else None


def held_content(library: Library, wanted: Iterable[Sha256], *, near: SnapshotId) -> Mapping[Sha256, HeldFile]:
    """Return where held snapshots other than `near` may have files with these SHA-256; the same repository's first.

    A snapshot whose torrent cannot be read is passed over.
    """
    missing = set(wanted)
    found: dict[Sha256, HeldFile] = {}
    others = [held for held in library.all() if held.id != near and held.state is not State.INCOMPLETE]
    for held in sorted(others, key=lambda held: (held.id.repo != near.repo, held.id.repo.org != near.repo.org)):
        if not missing:
            break
        for row in _rows(held, missing):
            path = held.folder / row.path.text
            if row.sha256 in missing and path.is_file() and not path.is_symlink() and path.stat().st_size == row.size:
                found[row.sha256] = HeldFile(held.id, row.path, path)
                missing.discard(row.sha256)
    return found


def _rows(held: HeldSnapshot, wanted: set[Sha256]) -> Iterator[FileRow]:
    try:
        data = durable.read(held.torrent_path, max_bytes=MAX_TORRENT_BYTES)
        if len(wanted) <= _SEARCH_BYTES_FOR and not any(str(digest).encode() in data for digest in wanted):
            return
        manifest = held.reader.torrent(data).manifest
        if manifest is not None:
            yield from manifest.files
    except P2pqwenError:
        return


class _Ownership(enum.Enum):
    OWN = enum.auto()
    SHARED = enum.auto()
    LACKING = enum.auto()


def _ownership(path: Path, size: int) -> _Ownership:
    """Classify a file in its place; a compressed one may seem to have holes, and then counts as lacking."""
    try:
        found = path.lstat()
    except OSError:
        return _Ownership.LACKING
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return _Ownership.LACKING
    if found.st_nlink > 1:
        return _Ownership.SHARED
    return _Ownership.OWN if allocated(path, found) >= size else _Ownership.LACKING


def _is_shared(path: Path) -> bool:
    return path.is_file() and path.stat().st_nlink > 1


def _looks(path: Path, look: Look | None) -> bool:
    try:
        return look is None or look.same_content(Look.of(path))
    except OSError:
        return False


def _replace_by_copy(source: Path | None, path: Path, scratch: Path) -> None:
    if source is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    place(source, scratch)
    scratch.replace(path)


def _take_one(
    metainfo: Metainfo, path: RepoPath, candidate: Candidate, target: Path, scratch: Path, library: Library
) -> bool:
    look = candidate.digests.look
    if candidate.source is None:
        return _looks(target, look)
    if isinstance(candidate.source, CachedFile):
        shared = _copied(candidate.source, scratch)
    else:
        shared = share(candidate.source, scratch, library, look=look)
    if shared is None:
        return False
    index = next(number for number, file in enumerate(metainfo.files) if file.path == path)
    if not shared.certain and not _same_hashes(scratch, candidate.digests, metainfo, index):
        return False
    with durable.disk_errors(f"create {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.replace(target)
    return True


def _copied(source: CachedFile, scratch: Path) -> Shared | None:
    """Copy a file of the cache, or share its blocks; None if it is gone. The copy is never certain."""
    if not os.path.isfile(source.path):  # noqa: PTH113 - without permission counts as gone
        return None
    return Shared(place(source.path, scratch), certain=False)


def _same_hashes(copy: Path, digests: FileDigests, metainfo: Metainfo, index: int) -> bool:
    """Read a copy and compare: its source may have been written to meanwhile."""
    layout = metainfo.layout
    found = hash_file(
        copy,
        piece_length=layout.piece_length,
        padded=layout.pad_after(index) > 0,
        git_blob=digests.git_blob is not None,
    )
    return (found.sha256, found.git_blob, found.hashes) == (digests.sha256, digests.git_blob, digests.hashes)


@contextmanager
def _scratch(snapshot: SnapshotId, library: Library) -> Iterator[Iterator[Path]]:
    """Yield names for files on their way into a snapshot's folder, on its disk; remove what is left there."""
    folder = library.scratch(snapshot)

    def names() -> Iterator[Path]:
        for number in itertools.count():
            folder.mkdir(parents=True, exist_ok=True)
            yield folder / str(number)

    with durable.disk_errors(f"write {folder}"):
        try:
            shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed: the snapshot's lock is ours
            yield names()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # others are at work there
                folder.parent.rmdir()
