"""What a plan of what to hold starts from, where trusted indexes list a hundred thousand snapshots: in columns.

Of nearly all of them nothing is known but what the index says. So they stay text and numbers, and only what is held,
withdrawn, contradicted, away or was looked at is taken out by its name. `Situation` says the same with an object for
each, for what watches swarms anyway; both give the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import count

from p2pqwen.events import Report, ignore
from p2pqwen.index.entry import Upstream
from p2pqwen.index.listing import Columns, Listing
from p2pqwen.index.withdrawals import Withdrawn, stops_seeding
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.trust_store import TrustedPublisher
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
from p2pqwen.operations.archive.watched import each_unlisted, held_bytes
from p2pqwen.stewardship.allocation import Decision, Disk, Offers, choose, why_unobtainable
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, health_of
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that is here. `size` is that of all of it, `taken` of what was wanted of it; both in bytes."""

    held: HeldSnapshot
    size: int
    taken: int

    @property
    def counts(self) -> bool:
        """Whether it is here as far as it was wanted: a fetch that was only begun is none."""
        return self.held.state is not State.INCOMPLETE


@dataclass(frozen=True)
class Outlook:
    """What trusted indexes list, ordered by snapshot, and what is known of some of it. Sizes in bytes.

    `kept` is ordered by snapshot too. The rest is as a `Situation` has it.
    """

    listed: Columns
    kept: Sequence[Kept]
    records: Mapping[SnapshotId, SwarmRecord]
    upstream: Mapping[SnapshotId, Upstream]
    said: Mapping[SnapshotId, tuple[Withdrawn, ...]]
    node: bytes
    disks: Sequence[Disk]
    now: datetime
    away: Mapping[SnapshotId, int] = field(default_factory=dict)
    contradicted: Collection[SnapshotId] = ()
    seed_withdrawn: SeedWithdrawn = SeedWithdrawn.OTHERS

    @property
    def held(self) -> list[Kept]:
        """What counts against a budget, disks that are away aside."""
        return [one for one in self.kept if one.counts]

    @property
    def used(self) -> int:
        """Bytes that count against a budget."""
        return sum(one.taken for one in self.held) + sum(self.away.values())

    def withdrawn(self, snapshots: Iterable[SnapshotId]) -> list[Withdrawn]:
        """Return who withdrew any of these, and why."""
        return [one for snapshot in snapshots for one in self.said.get(snapshot, ())]

    def plan(self, wishes: Wishes, budget: int) -> Adoption:
        """Choose within `budget` bytes, as `plan_adoption` does."""
        allocation = choose(
            self.offers(wishes), node=self.node, budget=budget, disks=self.disks, now=self.now, used=self.used
        )
        held = tuple(Decision(one.held.id, one.size, "held already") for one in self.held)
        return Adoption(allocation, held, dict(zip(self.listed.names, self.listed.licenses, strict=True)))

    def offers(self, wishes: Wishes) -> Offers:
        """Return what could be taken: listed, and not here yet. A fetch that was begun goes before all others."""
        here = set(self._places_of(one.held.id for one in self.kept if one.counts))
        begun = frozenset(self._places_of(one.held.id for one in self.kept if not one.counts))
        healths, refused = self._healths_and_lost()
        refused |= self._refused(wishes)
        every = range(len(healths))
        return Offers(
            names=self.listed.names,
            sizes=self.listed.sizes,
            healths=healths,
            order=[place for place in every if place not in here] if here else every,
            preferred=begun.union(self._called(wishes.prefer)),
            has_room=begun,
            refused={place: refused[place] for place in sorted(refused.keys() - here)},
        )

    def _healths_and_lost(self) -> tuple[list[SwarmHealth], dict[int, str]]:
        """Return how each listed snapshot stands, and why which of them cannot be had, by place."""
        unseen = {state: health_of(NEVER_SEEN, state, self.now) for state in Upstream}
        healths, lost = [unseen[state] for state in self.listed.upstream], {}
        for snapshot in self.records.keys() | self.upstream.keys():
            for place in self._places_of([snapshot]):
                state = self.upstream.get(snapshot, self.listed.upstream[place])
                healths[place] = health_of(self.records.get(snapshot, NEVER_SEEN), state, self.now)
                if (reason := why_unobtainable(healths[place])) is not None:
                    lost[place] = reason
        return healths, lost

    def _refused(self, wishes: Wishes) -> dict[int, str]:
        """Return what is out of the question, and why: of several reasons the one that comes last here."""
        refused = dict.fromkeys(self._places_of(self.contradicted), CONTRADICTED)
        if wishes.licenses:
            said = {name: unlicensed(name, wishes.licenses) for name in set(self.listed.licenses)}
            reasons = enumerate(map(said.__getitem__, self.listed.licenses))
            refused |= {place: reason for place, reason in reasons if reason is not None}
        refused |= dict.fromkeys(self._called(wishes.exclude), EXCLUDED)
        for snapshot, said_of_it in self.said.items():
            if stops_seeding(said_of_it, self.seed_withdrawn):
                refused |= dict.fromkeys(self._places_of([snapshot]), words_of(said_of_it))
        return refused | dict.fromkeys(self._places_of(self.away), AWAY)

    def _called(self, patterns: Sequence[str]) -> list[int]:
        """Return the places of what one of these globs names."""
        if not patterns:
            return []
        repos = [name.partition("@")[0] for name in self.listed.names]
        wanted = {repo for repo in set(repos) if matches_any(patterns, repo)}
        return [place for place, repo in enumerate(repos) if repo in wanted]

    def _places_of(self, snapshots: Iterable[SnapshotId]) -> Iterator[int]:
        places = self._places
        return (place for one in snapshots if (place := places.get(str(one))) is not None)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.listed.names)}


def listed_columns(publishers: Sequence[TrustedPublisher]) -> Columns:
    """Return what `each_listed` yields, ordered by snapshot."""
    listings = [one.document.listing for one in publishers if one.document is not None]
    if len(listings) > 1:
        return in_order(_latest(listings), of_one=False)
    found = Columns()
    for some in listings[0].columns() if listings else ():
        found.extend(some)
    return in_order(found)


def _latest(listings: Sequence[Listing]) -> Columns:
    """Return each snapshot once, in no order; where several list one, the last word counts."""
    found, added = Columns(), list[str]()
    places: dict[str, int] = {}
    for listing in listings:
        for some, claims in zip(listing.columns(), listing.claims(), strict=True):
            known = [(at, places[name]) for at, name in enumerate(some.names) if name in places]
            new = [at for at, name in enumerate(some.names) if name not in places]
            places.update(zip((some.names[at] for at in new), count(len(added)), strict=False))
            found.extend(some.only(new))
            added += (claims.added[at] for at in new)
            for at, place in known:
                if claims.added[at] >= added[place]:
                    found.sizes[place], found.licenses[place] = some.sizes[at], some.licenses[at]
                    found.upstream[place], added[place] = some.upstream[at], claims.added[at]
    return found


def in_order(columns: Columns, *, of_one: bool = True) -> Columns:
    """Order columns by snapshot. Those `of_one` index are in that order where all are of one kind."""
    names = columns.names
    if any(":" in name or name.startswith("datasets/") for name in names):
        parsed = lru_cache(maxsize=64)(RepoId.parse)

        def order(place: int) -> tuple[str, str, str]:
            repo, _, commit = names[place].partition("@")
            return parsed(repo).text, parsed(repo).kind.value, commit

        return columns.only(sorted(range(len(names)), key=order))
    if of_one:
        return columns
    keys = [name.replace("@", "\0") for name in names]
    return columns.only(sorted(range(len(names)), key=keys.__getitem__))


def kept_here(library: Library, listed: Columns, report: Report = ignore) -> list[Kept]:
    """Return what a library holds, ordered by snapshot; the size is the index's where one lists it."""
    held = {str(one.id): one for one in library.all()}
    if not held:
        return []
    kept = [
        Kept(held[name], size, held_bytes(held[name], size))
        for name, size in zip(listed.names, listed.sizes, strict=True)
        if name in held
    ]
    for one in kept:
        del held[str(one.held.id)]
    kept += (Kept(one.held, one.size, one.held_bytes) for one in each_unlisted(held.values(), report) if one.held)
    return sorted(kept, key=lambda one: one.held.id)
