"""What the Hub endpoint serves: the library first, then what trusted indexes list, brought on demand.

A held snapshot's standing is asked for at every look, so that what is vouched for no longer is served no longer; what
its torrent lists is read once. Of a snapshot that is only listed the torrent is brought when somebody asks for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from p2pqwen.containment import each
from p2pqwen.errors import NetworkError, NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.hub_api.listing import Refs
from p2pqwen.hub_api.problem import entry_not_found, repo_not_found
from p2pqwen.index.standing import NotAdmittedError, Voice
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.torrent_facts import look_at
from p2pqwen.library.verified import Look, Verified
from p2pqwen.operations.fetch.plan import TorrentPlan
from p2pqwen.operations.hub_endpoint.names import MainWords, Meant, Names
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

KEPT = 512
"""Snapshots whose file lists are kept in memory."""
ASK_AGAIN = 10.0
"""Seconds after which a torrent that could not be brought is asked for again."""
_CHECKERS = 2
Value = TypeVar("Value")


class Bringing(Protocol):
    """Brings files that are not held, while they are read."""

    def open(self, plan: TorrentPlan, path: RepoPath, wanted: range) -> Reading:
        """Begin to bring a file, or join whoever brings it already; raises `DiskError`, `NetworkError`."""


@dataclass(frozen=True, slots=True)
class ListedSources:
    """What the endpoint may bring: `plan` gives the torrent of a listed snapshot, `bringing` its files."""

    plan: Callable[[SnapshotId], TorrentPlan]
    bringing: Bringing


class HubCatalogue:
    """A `Catalogue` of one home; for several threads. `sources` None: the library alone is served."""

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
        self._commits: _Kept[ServedCommit] = _Kept()
        self._plans: _Kept[TorrentPlan] = _Kept()
        self._failed: _Kept[tuple[float, P2pqwenError]] = _Kept()
        self._looks: _Kept[Verified | None] = _Kept()
        self._told: dict[RepoId, SnapshotId] = {}
        self._bringing_torrents: dict[SnapshotId, threading.Lock] = {}
        self._lock = threading.Lock()
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
        """Return what is served of a repository and at hand: what `main` is first, then what is held.

        Raises `HubRefusedError` for a repository that is not known, and what bringing the first's torrent raises.
        """
        meant = self._names.main(repo)
        first = [] if meant is None else [self.snapshot(repo, str(meant.id.commit))]
        held = [one for one in self._held_ids(repo) if meant is None or one != meant.id]
        return first + each(held, lambda one: self.snapshot(repo, str(one.commit)), failed=lambda *_: None)

    def refs(self, repo: RepoId) -> Refs:
        """Return the one branch that is known of a repository; raises `HubRefusedError`."""
        meant = self._names.main(repo)
        return Refs({} if meant is None else {"main": meant.id.commit}, {})

    def listed(self, kind: RepoKind, *, search: str, author: str) -> Sequence[NamedSnapshot]:
        """Return the repositories that hold the words of `search` and are `author`'s, the newest commit of each."""
        table = self._names.table
        rows = {
            repo: NamedSnapshot(found[0].entry.id, found[0].entry.added, found[0].entry.license)
            for repo, found in table.rows.items()
        }
        own = {held.id.repo for held in self._library.all()} - rows.keys()
        for found in each(own, self._named, failed=lambda *_: None):
            if found is not None:
                rows[found.repo] = found
        words = search.lower().split()
        return [
            row
            for repo, row in sorted(rows.items())
            if repo.kind is kind
            and (not author or repo.org.lower() == author.lower())
            and all(word in repo.text.lower() for word in words)
        ]

    def own_name(self, repo: RepoId) -> RepoId | None:
        """Return what a repository is called whose name was written in another case, None where it is right or new."""
        found = self._names.table.lower.get(str(repo).lower())
        return None if found == repo else found

    def open(self, commit: ServedCommit, path: str, wanted: range) -> Reading:
        """Open a file of a commit: of the library, else while it arrives; raises as `Bringing.open` does."""
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
        """Open a file of the library, None where it is not there, or still on its way."""
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
        """Return what a held snapshot serves, None where its standing does not admit it."""
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
        with suppress(HubRefusedError):
            if (meant := self._names.main(repo)) is not None:
                held = self._library.get(meant.id)
                commit = None if held is None else self._admitted(held)
                return None if commit is None else NamedSnapshot(commit.id, commit.time, commit.license)
        return None

    def _plan(self, snapshot: SnapshotId) -> TorrentPlan:
        """Return a listed snapshot's torrent with what is known of it; asked for once, by one at a time."""
        if self._sources is None:
            raise HubRefusedError(repo_not_found(snapshot.repo.text))
        plan, voices = self._sources.plan, self._voices()
        with self._lock:
            turn = self._bringing_torrents.setdefault(snapshot, threading.Lock())
        with turn:
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
        """Say once what a name means, and why."""
        if revision == str(meant.id.commit) or self._told.get(meant.id.repo) == meant.id:
            return
        self._told[meant.id.repo] = meant.id
        self._report(Notice("info", f"{meant.id.repo} at {revision} is {meant.id.commit}: {meant.why}"))


@dataclass(frozen=True, slots=True)
class ServedSnapshot:
    """A `HubSnapshot`: a commit, and the catalogue that opens its files."""

    info: ServedCommit
    catalogue: HubCatalogue = field(repr=False)

    def open(self, path: str, wanted: range) -> Reading:
        """Open a listed file for reading these offsets of it; raises `P2pqwenError`."""
        return self.catalogue.open(self.info, path, wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """A key that is equal to none but of the same object, which it keeps alive."""

    of: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)


class _Kept(Generic[Value]):
    """The values of the last snapshots that were asked for, each while its key stays the same."""

    def __init__(self) -> None:
        self._known: OrderedDict[SnapshotId, tuple[Hashable, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, snapshot: SnapshotId, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            known = self._known.get(snapshot)
        if known is not None and known[0] == key:
            return known[1]
        value = make()
        self.put(snapshot, key, value)
        return value

    def peek(self, snapshot: SnapshotId) -> Value | None:
        with self._lock:
            known = self._known.get(snapshot)
        return None if known is None else known[1]

    def put(self, snapshot: SnapshotId, key: Hashable, value: Value) -> None:
        with self._lock:
            self._known[snapshot] = key, value
            self._known.move_to_end(snapshot)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)


def _commit_of_plan(plan: TorrentPlan) -> ServedCommit:
    """Return what a torrent in hand serves; raises `NotAdmittedError`, and `NetworkError` where it lacks a manifest."""
    manifest = plan.manifest
    if manifest is None:
        raise NetworkError(f"the file list of {plan.snapshot} is not at hand", hint=f"`p2pqwen fetch {plan.snapshot}`")
    admission = plan.judgement.admit(manifest)
    if not plan.listed:
        return ServedCommit(admission, plan.torrent.infohash)
    return ServedCommit(admission, plan.torrent.infohash, plan.listed[0].entry.added)
