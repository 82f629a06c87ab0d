"""What a plan of what to hold starts from, and the plan of what to take.

Of most rows in an index nothing else is known. So only snapshots that are held, withdrawn, contradicted, away or were
examined are looked up in the columns by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.index.withdrawals import Withdrawn, stops_seeding
from p2pqwen.operations.archive.adopt import (
    AWAY,
    CONTRADICTED,
    EXCLUDED,
    Adoption,
    Wishes,
    matches_any,
    unlicensed,
    words_of,
)
from p2pqwen.operations.archive.listed import Kept, Listed
from p2pqwen.stewardship.allocation import Decision, Disk, Offers, choose, why_unobtainable
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, health_of
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is listed and here, what is known about it, the node's id, and where there is room. Sizes in bytes.

    `away`: snapshots on disks that are not connected, or that are being fetched, with their sizes. `passed_over`:
    snapshots not to choose now. `seed_withdrawn`: which withdrawn snapshots this node serves; one that it serves and
    that another publisher lists may be chosen.
    """

    listed: Listed
    records: Mapping[SnapshotId, SwarmRecord]
    upstream: Mapping[SnapshotId, Upstream]
    said: Mapping[SnapshotId, tuple[Withdrawn, ...]]
    node: bytes
    disks: Sequence[Disk]
    now: datetime
    away: Mapping[SnapshotId, int] = field(default_factory=dict)
    passed_over: Collection[SnapshotId] = ()
    seed_withdrawn: SeedWithdrawn = SeedWithdrawn.OTHERS

    @property
    def held(self) -> list[Kept]:
        """What counts against a budget, except snapshots on disks that are away."""
        return [one for one in self.listed.kept if one.counts]

    @property
    def used(self) -> int:
        """Bytes that count against a budget."""
        return sum(one.taken for one in self.held) + sum(self.away.values())

    def withdrawn(self, snapshots: Iterable[SnapshotId]) -> list[Withdrawn]:
        """Return the withdrawals of any of these snapshots."""
        return [one for snapshot in snapshots for one in self.said.get(snapshot, ())]

    def size(self, snapshot: SnapshotId) -> int:
        """Return the bytes of a snapshot that is listed or here, else 0."""
        if (place := self.listed.places.get(str(snapshot))) is not None:
            return self.listed.columns.sizes[place]
        return next((one.size for one in self.listed.kept if one.held.id == snapshot), 0)

    def health(self, snapshot: SnapshotId) -> SwarmHealth:
        """Return what is known of the health of a snapshot's swarm."""
        place = self.listed.places.get(str(snapshot))
        return self._health_as(snapshot, Upstream.UNKNOWN if place is None else self.listed.columns.upstream[place])

    def _health_as(self, snapshot: SnapshotId, listed_as: Upstream) -> SwarmHealth:
        state = self.upstream.get(snapshot, listed_as)
        return health_of(self.records.get(snapshot, NEVER_SEEN), state, self.now)

    def plan(self, wishes: Wishes, budget: int) -> Adoption:
        """Choose what to take within `budget` bytes; deterministic for an outlook."""
        allocation = choose(
            self.offers(wishes), node=self.node, budget=budget, disks=self.disks, now=self.now, used=self.used
        )
        held = tuple(Decision(one.held.id, one.size, "held already") for one in self.held)
        columns = self.listed.columns
        return Adoption(allocation, held, dict(zip(columns.names, columns.licenses, strict=True)))

    def offers(self, wishes: Wishes) -> Offers:
        """Return what could be taken: listed, and not here yet. Unfinished fetches come first."""
        here = set(self._places_of(one.held.id for one in self.listed.kept if one.counts))
        begun = frozenset(self._places_of(one.held.id for one in self.listed.kept if not one.counts))
        without = here.union(self._places_of(self.passed_over))
        healths, refused = self._healths_and_lost()
        refused |= self._refused(wishes)
        every = range(len(healths))
        return Offers(
            names=self.listed.columns.names,
            sizes=self.listed.columns.sizes,
            healths=healths,
            order=[place for place in every if place not in without] if without else every,
            preferred=begun.union(self._called(wishes.prefer)),
            has_room=begun,
            refused={place: refused[place] for place in sorted(refused.keys() - without)},
        )

    def _healths_and_lost(self) -> tuple[list[SwarmHealth], dict[int, str]]:
        """Return the health of each listed snapshot and, by place, why some cannot be obtained."""
        unseen = {state: health_of(NEVER_SEEN, state, self.now) for state in Upstream}
        healths, lost = [unseen[state] for state in self.listed.columns.upstream], {}
        known = self.records.keys() | self.upstream.keys()
        for place, snapshot in self._with_places(known):
            healths[place] = self._health_as(snapshot, self.listed.columns.upstream[place])
            if (reason := why_unobtainable(healths[place])) is not None:
                lost[place] = reason
        return healths, lost

    def _refused(self, wishes: Wishes) -> dict[int, str]:
        """Return by place what must not be chosen, and why; later reasons in this function override earlier ones."""
        refused = dict.fromkeys(self._places_of(self.listed.contradicted), CONTRADICTED)
        if wishes.licenses:
            licenses = self.listed.columns.licenses
            said = {name: unlicensed(name, wishes.licenses) for name in set(licenses)}
            reasons = enumerate(map(said.__getitem__, licenses))
            refused |= {place: reason for place, reason in reasons if reason is not None}
        refused |= dict.fromkeys(self._called(wishes.exclude), EXCLUDED)
        for snapshot, said_of_it in self.said.items():
            if stops_seeding(said_of_it, self.seed_withdrawn):  # it would be fetched, and not served
                refused |= dict.fromkeys(self._places_of([snapshot]), words_of(said_of_it))
        return refused | dict.fromkeys(self._places_of(self.away), AWAY)

    def _called(self, patterns: Sequence[str]) -> list[int]:
        """Return the places of what these globs match."""
        if not patterns:
            return []
        repos = [name.partition("@")[0] for name in self.listed.columns.names]
        wanted = {repo for repo in set(repos) if matches_any(patterns, repo)}
        return [place for place, repo in enumerate(repos) if repo in wanted]

    def _places_of(self, snapshots: Iterable[SnapshotId]) -> Iterator[int]:
        return (place for place, _ in self._with_places(snapshots))

    def _with_places(self, snapshots: Iterable[SnapshotId]) -> Iterator[tuple[int, SnapshotId]]:
        places = self.listed.places
        return ((place, one) for one in snapshots if (place := places.get(str(one))) is not None)
