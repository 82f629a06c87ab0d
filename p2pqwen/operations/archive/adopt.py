"""What this node should hold, out of all that trusted indexes list: a plan with a reason for every snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase

from p2pqwen.index.withdrawals import Withdrawn, stops_seeding
from p2pqwen.library.folders import device
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.license import is_licensed
from p2pqwen.operations.archive.watched import HealthRow, WatchedSwarm
from p2pqwen.stewardship.allocation import Allocation, Candidate, Decision, Disk, allocate
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId

AWAY = "already held, on a disk that is not connected"
EXCLUDED = "left out by --exclude"
CONTRADICTED = "trusted publishers contradict one another about it"


@dataclass(frozen=True, slots=True)
class Wishes:
    """Globs over `ORG/MODEL`, or the model's name alone: what goes first, and what is left out.

    `licenses`: globs over the licenses that are wanted, empty for any.
    """

    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan starts from: every swarm that matters, what this node is, and where it has room. Sizes in bytes.

    `away`: snapshots on disks that are not here, with their sizes. `contradicted`: those for which trusted publishers
    name different torrents. `seed_withdrawn`: which withdrawn snapshots this node serves; one that it serves, and that
    another publisher lists, is a candidate.
    """

    rows: Sequence[HealthRow]
    node: bytes
    disks: Sequence[Disk]
    now: datetime
    away: Mapping[SnapshotId, int] = field(default_factory=dict)
    contradicted: Collection[SnapshotId] = ()
    seed_withdrawn: SeedWithdrawn = SeedWithdrawn.OTHERS

    @property
    def held(self) -> list[HealthRow]:
        """What is here, as far as it was wanted."""
        return [row for row in self.rows if _is_held(row)]

    @property
    def used(self) -> int:
        """Bytes that count against a budget."""
        return sum(row.swarm.held_bytes for row in self.held) + sum(self.away.values())

    def candidates(self, wishes: Wishes) -> list[Candidate]:
        """Return what could be taken: listed, and not here yet. A fetch that was begun goes before all others."""
        return [
            Candidate(
                row.swarm.snapshot,
                row.swarm.size,
                row.health,
                preferred=row.swarm.held is not None or _any(wishes.prefer, row.swarm.snapshot),
                refused=self._refusal(row.swarm, wishes),
                has_room=row.swarm.held is not None,
            )
            for row in self.rows
            if row.swarm.listed and not _is_held(row)
        ]

    def withdrawn(self, snapshots: Iterable[SnapshotId]) -> list[Withdrawn]:
        """Return who withdrew any of these, and why."""
        said = {row.swarm.snapshot: row.swarm.withdrawn for row in self.rows}
        return [one for snapshot in snapshots for one in said.get(snapshot, ())]

    def _refusal(self, swarm: WatchedSwarm, wishes: Wishes) -> str | None:
        snapshot = swarm.snapshot
        if snapshot in self.away:
            return AWAY
        if stops_seeding(swarm.withdrawn, self.seed_withdrawn):  # it would be fetched, and not served
            return words_of(swarm.withdrawn)
        if _any(wishes.exclude, snapshot):
            return EXCLUDED
        if wishes.licenses and (reason := unlicensed(swarm.license, wishes.licenses)) is not None:
            return reason
        return CONTRADICTED if snapshot in self.contradicted else None


@dataclass(frozen=True, slots=True)
class Adoption:
    """A plan. `held` is what is here already and counts against the budget, which is for everything together.

    `licenses` are those that trusted indexes name, by what `str` prints of a snapshot.
    """

    allocation: Allocation
    held: tuple[Decision, ...]
    licenses: Mapping[str, str | None]

    @property
    def chosen(self) -> tuple[Decision, ...]:
        """What to fetch, in the order of need."""
        return self.allocation.chosen


def plan_adoption(situation: Situation, wishes: Wishes, budget: int) -> Adoption:
    """Choose within `budget` bytes; the same situation gives the same plan."""
    held = tuple(Decision(row.swarm.snapshot, row.swarm.size, "held already") for row in situation.held)
    allocation = allocate(
        situation.candidates(wishes),
        node=situation.node,
        budget=budget,
        disks=situation.disks,
        now=situation.now,
        used=situation.used,
    )
    return Adoption(allocation, held, {str(row.swarm.snapshot): row.swarm.license for row in situation.rows})


def disks_of(library: Library) -> list[Disk]:
    """Return where the library has room: of folders on one disk, the one with the least reserve; raises `DiskError`.

    What unfinished fetches have still to write is none.
    """
    found: dict[int, Disk] = {}
    claimed: dict[int, int] = {}
    for folder in library.folders:
        one = Disk(str(folder.root), folder.room)
        disk = device(folder.root)
        claimed[disk] = claimed.get(disk, 0) + library.claimed(folder)
        if disk not in found or found[disk].room < one.room:
            found[disk] = one
    return [replace(one, free=max(0, one.free - claimed[disk])) for disk, one in found.items()]


def _is_held(row: HealthRow) -> bool:
    return row.swarm.held is not None and row.swarm.held.state is not State.INCOMPLETE


def contradictions(publishers: Iterable[TrustedPublisher]) -> frozenset[SnapshotId]:
    """Return the snapshots for which trusted publishers name different torrents."""
    listings = [one.document.listing for one in publishers if one.document is not None]
    if len(listings) < 2:
        return frozenset()  # no index names a snapshot twice
    named: dict[str, str] = {}
    differing = set()
    for listing in listings:
        for some, claims in zip(listing.columns(), listing.claims(), strict=True):
            for name, torrent in zip(some.names, claims.torrents, strict=True):
                if named.setdefault(name, torrent) != torrent:
                    differing.add(name)
    return frozenset(map(SnapshotId.parse, differing))


def words_of(withdrawn: Iterable[Withdrawn]) -> str:
    """Say who withdrew a snapshot, and why."""
    return "; ".join(map(str, withdrawn))


def unlicensed(name: str | None, wanted: Sequence[str]) -> str | None:
    """Say what is wrong with a license, where none of the wanted globs takes it."""
    if is_licensed(name, wanted):
        return None
    named = f"license {name}" if name else "it names no license"
    return f"{named}, wanted {', '.join(wanted)}"


def matches_any(patterns: Sequence[str], repo: str) -> bool:
    """Tell whether one of these globs names a repository, given what `str` prints of it."""
    name = repo.rpartition("/")[2]
    return any(fnmatchcase(repo if "/" in pattern else name, pattern) for pattern in patterns)


def _any(patterns: Sequence[str], snapshot: SnapshotId) -> bool:
    return bool(patterns) and matches_any(patterns, str(snapshot.repo))
