"""What the Hub endpoint serves: the library first, then what trusted indexes list, downloaded on demand.

A held snapshot's standing is checked at every request, so that a snapshot which is no longer vouched for is no longer
served. Its file list is read once. The torrent of a snapshot that is only listed is fetched on request.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from p2pqwen.containment import each
from p2pqwen.errors import NetworkError, NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.hub_api.listing import FILE_BYTES, Refs
from p2pqwen.hub_api.problem import entry_not_found, repo_not_found
from p2pqwen.index.standing import NotAdmittedError
from p2pqwen.index.voice import Voice
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.torrent_facts import look_at
from p2pqwen.library.verified import Look, Verified
from p2pqwen.operations.fetch.plan import TorrentPlan
from p2pqwen.operations.hub_endpoint.names import ListQuery, MainWords, Meant, Names
from p2pqwen.operations.hub_endpoint.reading import (
    CheckedReading,
    PieceFile,
    VerifiedReading,
    is_as_verified,
    open_file,
)
from p2pqwen.operations.hub_endpoint.served import NamedSnapshot, ServedCommit
from p2pqwen.operations.verify.standings import Standings
from p2pqwen.server.hub_catalogue import HubRefusedError, Reading
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.weighed_cache import WeighedCache

KEPT_BYTES = 64 << 20
"""Bytes of memory for each cache: file lists, torrents, and records of verified files."""
ASK_AGAIN = 10.0
"""Seconds before a torrent that could not be fetched is requested again."""
_CHECKERS = 2
_NOTE = 1024  # approximate bytes of a name and its record
Value = TypeVar("Value")


class Bringing(Protocol):
    """Downloads files that are not held, while they are read."""

    def open(self, plan: TorrentPlan, path: RepoPath, wanted: range) -> Reading:
        """Start to download a file, or join its running download; raises `DiskError`, `NetworkError`."""


@dataclass(frozen=True, slots=True)
class ListedSources:
    """What the endpoint may download: `plan` returns the torrent of a listed snapshot, `bringing` opens its files."""

    plan: Callable[[SnapshotId], TorrentPlan]
    bringing: Bringing


class HubCatalogue:
    """A `Catalogue` of one home; thread-safe. `sources` None: only the library is served."""

    def __init__(
        self,
        library: Library,
        standings: Standings,
        voices: Callable[[], Sequence[Voice]],
        words: MainWords,
        sources: ListedSources | None,
        report: Report,
    ) -> None:
        self._library, self._standings, self._voices = library, standings, voices
        self._sources, self._report = sources, report
        self._names = Names(voices, self._held_ids, words)
        self._commits: _Kept[ServedCommit] = _Kept(_weight_of_commit)
        self._plans: _Kept[TorrentPlan] = _Kept(_weight_of_plan)
        self._looks: _Kept[Verified | None] = _Kept(_weight_of_looks)
        self._failed: _Kept[tuple[float, P2pqwenError]] = _Kept(lambda _: _NOTE)
        self._told: _Kept[SnapshotId] = _Kept(lambda _: _NOTE)
        self._turns = _OneAtATime()
        self._checkers = ThreadPoolExecutor(_CHECKERS, "hub check")

    def close(self) -> None:
        """End its threads."""
        self._checkers.shutdown(wait=False, cancel_futures=True)

    def snapshot(self, repo: RepoId, revision: str) -> ServedSnapshot:
        """Return what a revision of a repository names; raises `HubRefusedError`, `P2pqwenError`."""
        meant = self._names.resolve(repo, revision)
        self._tell(meant, revision)
        held = self._library.get(meant.id)
        commit = None if held is None else self._admitted(held)
        if commit is not None:
            return ServedSnapshot(commit, self)
        plan = self._plan(meant.id)
        key = (plan.torrent.infohash, plan.torrent.manifest and plan.torrent.manifest.digest)
        try:
            return ServedSnapshot(self._commits.get(meant.id, key, lambda: _commit_of_plan(plan)), self)
        except NotAdmittedError as error:
            raise HubRefusedError(repo_not_found(repo.text)) from error

    def known(self, repo: RepoId) -> list[ServedSnapshot]:
        """Return the served snapshots of a repository: the one that `main` names first, then the held ones.

        Raises `HubRefusedError` for an unknown repository, and what fetching the first one's torrent raises.
        """
        meant = self._names.main(repo)
        first = [] if meant is None else [self.snapshot(repo, str(meant.id.commit))]
        held = [one for one in self._held_ids(repo) if meant is None or one != meant.id]
        return first + each(held, lambda one: self.snapshot(repo, str(one.commit)), failed=lambda *_: None)

    def refs(self, repo: RepoId) -> Refs:
        """Return the one known branch of a repository; raises `HubRefusedError`."""
        meant = self._names.main(repo)
        return Refs({} if meant is None else {"main": meant.id.commit}, {})

    def listed(self, kind: RepoKind, *, search: str, author: str, after: str) -> Iterator[NamedSnapshot]:
        """Yield the newest commit of each repository that matches the words of `search` and belongs to `author`."""
        query = ListQuery(kind, tuple(search.split()), author, after)
        for repo, entry in self._names.search(query, {held.id.repo for held in self._library.all()}):
            if entry is not None:
                yield NamedSnapshot(entry.id, entry.added, entry.license)
            else:
                for found in each([repo], self._named, failed=lambda *_: None):
                    if found is not None:
                        yield found

    def open(self, commit: ServedCommit, path: str, wanted: range) -> Reading:
        """Open a file of a commit: from the library, or else while it arrives; raises as `Bringing.open` does."""
        file = commit.files[path]
        held = self._library.get(commit.id)
        if held is not None:
            reading = self._open_held(held, commit, RepoPath(file.path), file.size)
            if reading is not None:
                return reading
        if self._sources is None:
            raise HubRefusedError(entry_not_found(f"{path} is not in the library"))
        return self._sources.bringing.open(self._plan(commit.id), RepoPath(file.path), wanted)

    def _open_held(self, held: HeldSnapshot, commit: ServedCommit, path: RepoPath, size: int) -> Reading | None:
        """Open a file of the library, None if it is not there or still arriving."""
        descriptor = open_file(held.folder, path, size)
        if descriptor is None:
            return None
        if is_as_verified(descriptor, self._look(held, commit, path)):
            return VerifiedReading(descriptor, size)
        os.close(descriptor)
        if held.state is State.INCOMPLETE or not held.wants(path):
            return None
        metainfo = held.metainfo()
        if metainfo.infohash != commit.infohash:
            return None
        index = next(number for number, one in enumerate(metainfo.files) if one.path == path)
        return CheckedReading(PieceFile(metainfo, index, held.folder), self._checkers.submit)

    def _look(self, held: HeldSnapshot, commit: ServedCommit, path: RepoPath) -> Look | None:
        verified = self._library.verified
        stamp = verified.stamp(held.id)
        known = self._looks.get(held.id, (stamp, str(held.folder)), lambda: verified.of(held.id))
        return known.looks.get(path) if known is not None and known.infohash == commit.infohash.v2 else None

    def _admitted(self, held: HeldSnapshot) -> ServedCommit | None:
        """Return what a held snapshot serves, None if its standing does not admit it."""
        stood = self._standings.of([held], self._report).get(held.id)
        if stood is None or stood.facts.manifest is None:
            return None
        key = (look_at(held.torrent_path), stood.judgement.standing, stood.trusted_unverified, stood.facts.infohash)

        def admit() -> ServedCommit:
            torrent = held.torrent()
            manifest = torrent.manifest
            if manifest is None or torrent.infohash != stood.facts.infohash:
                raise NotAdmittedError(f"{held.id} has changed while it was read")
            admission = stood.judgement.admit(manifest, trust_unverified=stood.trusted_unverified)
            return ServedCommit(admission, torrent.infohash)

        try:
            return self._commits.get(held.id, key, admit)
        except NotAdmittedError:
            return None

    def _held_ids(self, repo: RepoId) -> Sequence[SnapshotId]:
        held = self._library.of_repo(repo)
        stood = self._standings.of(held, self._report)
        return [
            snapshot for snapshot, one in stood.items() if one.judgement.standing.rank > 0 or one.trusted_unverified
        ]

    def _named(self, repo: RepoId) -> NamedSnapshot | None:
        with suppress(NotFoundError):
            if (meant := self._names.main(repo)) is not None:
                held = self._library.get(meant.id)
                commit = None if held is None else self._admitted(held)
                return None if commit is None else NamedSnapshot(commit.id, commit.time, commit.license)
        return None

    def _plan(self, snapshot: SnapshotId) -> TorrentPlan:
        """Return a listed snapshot's torrent with what is known of it; each is requested once, by one thread."""
        if self._sources is None:
            raise HubRefusedError(repo_not_found(snapshot.repo.text))
        plan, voices = self._sources.plan, self._voices()
        with self._turns.of(snapshot):
            failed = self._failed.peek(snapshot)
            if failed is not None and time.monotonic() < failed[0]:
                raise failed[1]
            try:
                return self._plans.get(snapshot, _Same(voices), lambda: plan(snapshot))
            except NotFoundError as error:
                raise HubRefusedError(repo_not_found(snapshot.repo.text)) from error
            except NetworkError as error:
                self._failed.put(snapshot, None, (time.monotonic() + ASK_AGAIN, error))
                raise

    def _tell(self, meant: Meant, revision: str) -> None:
        """Report once what a name means, and why."""
        if revision == str(meant.id.commit) or self._told.peek(meant.id.repo) == meant.id:
            return
        self._told.put(meant.id.repo, None, meant.id)
        self._report(Notice("info", f"{meant.id.repo} at {revision} is {meant.id.commit}: {meant.why}"))


@dataclass(frozen=True, slots=True)
class ServedSnapshot:
    """A `HubSnapshot`: a commit, and the catalogue that opens its files."""

    info: ServedCommit
    catalogue: HubCatalogue = field(repr=False)

    def open(self, path: str, wanted: range) -> Reading:
        """Open a listed file to read these offsets; raises `P2pqwenError`."""
        return self.catalogue.open(self.info, path, wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A key that only equals keys of the same object, which it keeps alive."""

    of: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)


class _Kept(Generic[Value]):
    """A cache of recent values, each valid while its key stays the same; thread-safe."""

    def __init__(self, weigh: Callable[[Value], int]) -> None:
        self._known: WeighedCache[RepoId | SnapshotId, tuple[Hashable, Value]] = WeighedCache(
            KEPT_BYTES, lambda one: weigh(one[1])
        )
        self._lock = threading.Lock()

    def get(self, name: RepoId | SnapshotId, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            known = self._known.get(name)
        if known is not None and known[0] == key:
            return known[1]
        value = make()
        self.put(name, key, value)
        return value

    def peek(self, name: RepoId | SnapshotId) -> Value | None:
        with self._lock:
            known = self._known.get(name)
        return None if known is None else known[1]

    def put(self, name: RepoId | SnapshotId, key: Hashable, value: Value) -> None:
        with self._lock:
            self._known.put(name, (key, value))


class _OneAtATime:
    """A lock for each snapshot, which exists only while it is in use."""

    def __init__(self) -> None:
        self._turns: dict[SnapshotId, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, snapshot: SnapshotId) -> Iterator[None]:
        with self._lock:
            turn, users = self._turns.get(snapshot, (threading.Lock(), 0))
            self._turns[snapshot] = turn, users + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, users = self._turns.pop(snapshot)
                if users > 1:
                    self._turns[snapshot] = turn, users - 1


def _weight_of_commit(commit: ServedCommit) -> int:
    return _NOTE + FILE_BYTES * len(commit.files)


def _weight_of_plan(plan: TorrentPlan) -> int:
    metainfo = plan.metainfo
    layers = sum(map(len, metainfo.piece_layers.values()))
    return (
        _NOTE + 2 * len(metainfo.info) + layers + len(metainfo.manifest or b"") + 2 * FILE_BYTES * len(metainfo.files)
    )


def _weight_of_looks(known: Verified | None) -> int:
    return _NOTE + (0 if known is None else FILE_BYTES * len(known.looks))


def _commit_of_plan(plan: TorrentPlan) -> ServedCommit:
    """Return what a plan's torrent serves; raises `NotAdmittedError`, and `NetworkError` if it has no manifest."""
    manifest = plan.manifest
    if manifest is None:
        raise NetworkError(f"the file list of {plan.snapshot} is not at hand", hint=f"`p2pqwen fetch {plan.snapshot}`")
    admission = plan.judgement.admit(manifest)
    if not plan.listed:
        return ServedCommit(admission, plan.torrent.infohash)
    return ServedCommit(admission, plan.torrent.infohash, plan.listed[0].entry.added)
