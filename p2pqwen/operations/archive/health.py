"""How each swarm stands: what is watched, what was seen and is remembered, and the order by danger."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter

from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.index.upstream import Upstream
from p2pqwen.index.withdrawals import WithdrawnAnswer
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.snapshots import State
from p2pqwen.operations.archive.swarm_probe import Look, Probes, look_at
from p2pqwen.operations.archive.watched import HealthRow, WatchedSwarm
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.stewardship.danger import Danger, danger_key
from p2pqwen.stewardship.swarm_health import Sighting, Source, Trend
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, remember
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.known_snapshots import KnownSnapshots
from p2pqwen.values.snapshot_id import SnapshotId

LOOK_AGAIN = timedelta(hours=1)
"""A command asks again about what was last looked at longer ago."""
PART = 70
"""Swarms looked at together, so that what was seen is remembered as it goes on."""


def by_danger(rows: Iterable[HealthRow], now: datetime) -> list[HealthRow]:
    """Return the rows with the one most in danger first."""
    return sorted(rows, key=lambda row: danger_key(row.swarm.snapshot, row.swarm.size, row.health, now))


def due(
    swarms: Iterable[WatchedSwarm],
    records: Mapping[SnapshotId, SwarmRecord],
    now: datetime,
    again: timedelta,
    asked: Mapping[SnapshotId, datetime] | None = None,
    *,
    most: int | None = None,
) -> list[WatchedSwarm]:
    """Return the swarms that nobody has asked others about for `again`, the longest first, `most` at most.

    `asked`: when they were, whatever the answer. A swarm that never answers must not be the next one for ever.
    """

    def last(swarm: WatchedSwarm) -> datetime | None:
        record = records.get(swarm.snapshot, NEVER_SEEN)
        times = [one.at for one in record.sightings if one.source is not Source.CONNECTIONS]
        times += [] if record.web is None else [record.web.at]
        times += [asked[swarm.snapshot]] if asked and swarm.snapshot in asked else []
        return max(times, default=None)

    def turn(row: tuple[datetime | None, WatchedSwarm]) -> tuple[bool, datetime, SnapshotId]:
        return row[0] is not None, row[0] or now, row[1].snapshot

    waiting = ((at, swarm) for swarm in swarms if (at := last(swarm)) is None or now - at >= again)
    first = sorted(waiting, key=turn) if most is None else heapq.nsmallest(most, waiting, key=turn)
    return [swarm for _, swarm in first]


def connections(rows: Iterable[SnapshotState], now: datetime) -> dict[SnapshotId, Look]:
    """Return whom a running node is connected to.

    That nobody is connected, or no seed, says nothing: seeds do not stay connected to seeds.
    """
    return {
        row.id: Look((Sighting(now, Source.CONNECTIONS, row.seeds or None, row.peers),))
        for row in rows
        if row.state == "seeding" and row.peers
    }


def announced(rows: Iterable[SnapshotState]) -> dict[SnapshotId, bool]:
    """Return the snapshots that a running node tells trackers and the DHT it has; True for a whole one."""
    return {row.id: row.is_whole for row in rows if row.state == "seeding"}


def keep(store: HealthStore, looks: Mapping[SnapshotId, Look]) -> dict[SnapshotId, SwarmRecord]:
    """Remember what was seen, and return what is remembered of those swarms now; raises `DiskError`."""

    def folding(look: Look) -> Callable[[SwarmRecord], SwarmRecord]:
        return lambda before: remember(before, look.sightings, look.web)

    return store.change({snapshot: folding(look) for snapshot, look in looks.items() if look != Look()})


@dataclass(frozen=True, slots=True)
class SightingAnswer:
    """What one source said last, and when; None is what it cannot tell."""

    source: Source
    at: datetime
    seeds: int | None
    peers: int | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class PlaceAnswer:
    """A web seed as it was asked last, and whether it answered rightly."""

    url: str
    ok: bool


@dataclass(frozen=True, slots=True)
class SwarmAnswer:
    """A row of `health --json`; what nobody knows is None. `size` in bytes, `copies` an estimate of complete ones.

    Seeds, peers and copies are others, never this node. `sightings` say who said so.
    """

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int
    danger: Danger
    seeds: int | None
    peers: int | None
    estimated: bool
    copies: float | None
    trend: Trend
    looked: datetime | None
    sources: tuple[str, ...]
    sightings: tuple[SightingAnswer, ...]
    last_complete_seen: datetime | None
    web_seeds_ok: int | None
    web_seeds_asked: int | None
    web_seeds: tuple[PlaceAnswer, ...]
    upstream: Upstream
    held: State | None
    listed: bool
    standing: Standing
    withdrawn: tuple[WithdrawnAnswer, ...]

    @classmethod
    def of(cls, row: HealthRow, standing: Standing, now: datetime) -> SwarmAnswer:
        """Return the answer about a swarm at this moment."""
        health, web = row.health, row.record.web
        copies = health.copies(now)
        return cls(
            snapshot=row.swarm.snapshot,
            size=row.swarm.size,
            danger=row.danger(now),
            seeds=health.seeds,
            peers=health.peers,
            estimated=health.estimated,
            copies=None if copies is None else round(copies, 1),
            trend=health.trend,
            looked=health.looked,
            sources=tuple(sorted(one.source.value for one in row.record.sightings)),
            sightings=tuple(
                SightingAnswer(one.source, one.at, one.seeds, one.peers, one.estimated)
                for one in sorted(row.record.sightings, key=attrgetter("source"))
            ),
            last_complete_seen=health.last_complete_seen,
            web_seeds_ok=health.web_seeds_ok,
            web_seeds_asked=None if web is None else web.asked,
            web_seeds=() if web is None else tuple(PlaceAnswer(url, right) for url, right in web.places),
            upstream=health.upstream,
            held=None if row.swarm.held is None else row.swarm.held.state,
            listed=row.swarm.listed,
            standing=standing,
            withdrawn=tuple(one.answer for one in row.swarm.withdrawn),
        )


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """What `health --json` says, the swarm most in danger first."""

    swarms: tuple[SwarmAnswer, ...]


async def look_for(
    swarms: Sequence[WatchedSwarm],
    store: HealthStore,
    probes: Probes,
    *,
    own: Iterable[SnapshotState] = (),
    seconds: float,
    again: bool = False,
    clock: Callable[[], datetime],
    report: Report = ignore,
) -> int:
    """Look at those that are due (`again`: at all) for at most `seconds`; return how many were not reached.

    `own` is what a running node sees by itself. What was seen is remembered at once; raises `DiskError`.
    """
    now, own = clock(), tuple(own)
    keep(store, connections(own, now))
    records = store.all()
    waiting = due(swarms, records, now, timedelta(0) if again else LOOK_AGAIN)
    deadline = asyncio.get_running_loop().time() + seconds
    done = 0
    for start in range(0, len(waiting), PART):
        part = waiting[start : start + PART]
        left = deadline - asyncio.get_running_loop().time()
        looks = await look_at(part, probes, records, clock=clock, announced=announced(own), seconds=left, report=report)
        keep(store, looks)
        if asyncio.get_running_loop().time() >= deadline:
            return len(waiting) - done - sum(one != Look() for one in looks.values())
        done += len(part)
        report(Progress("look", done, len(waiting), "", "swarms"))
    return 0


def named(swarms: Sequence[WatchedSwarm], targets: Sequence[str]) -> list[WatchedSwarm]:
    """Return the swarms that names and globs mean, all where none is named; raises `NotFoundError`, `UsageError`."""
    if not targets:
        return list(swarms)
    known = KnownSnapshots.of(
        (one.snapshot for one in swarms), "that is held or listed by a trusted index", "see `p2pqwen search`"
    )
    wanted = {snapshot for target in targets for snapshot in known.meant(target)}
    return sorted((one for one in swarms if one.snapshot in wanted), key=lambda one: one.snapshot)
