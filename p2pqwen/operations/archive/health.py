"""The health of swarms: which are due, what was seen and is remembered, and the order by danger."""

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
"""A command asks again about swarms that were examined longer ago than this."""
PART = 70
"""Swarms examined together; the findings are stored after each part."""


def by_danger(rows: Iterable[HealthRow], now: datetime) -> list[HealthRow]:
    """Return the rows, most endangered first."""
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
    """Return up to `most` swarms about which nothing was asked for `again`, longest ago first.

    `asked`: when each was last asked about, whatever the answer. A swarm that never answers must not always come next.
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
    """Return what a running node's connections show.

    No connections, or none to seeds, prove nothing: seeds do not stay connected to seeds.
    """
    return {
        row.id: Look((Sighting(now, Source.CONNECTIONS, row.seeds or None, row.peers),))
        for row in rows
        if row.state == "seeding" and row.peers
    }


def announced(rows: Iterable[SnapshotState]) -> dict[SnapshotId, bool]:
    """Return the snapshots that a running node announces to trackers and the DHT; True for a whole one."""
    return {row.id: row.is_whole for row in rows if row.state == "seeding"}


def keep(store: HealthStore, looks: Mapping[SnapshotId, Look]) -> dict[SnapshotId, SwarmRecord]:
    """Remember what was seen, and return the updated records of those swarms; raises `DiskError`."""

    def folding(look: Look) -> Callable[[SwarmRecord], SwarmRecord]:
        return lambda before: remember(before, look.sightings, look.web)

    return store.change({snapshot: folding(look) for snapshot, look in looks.items() if look != Look()})


@dataclass(frozen=True, slots=True)
class SightingAnswer:
    """What one source said last, and when; None if it cannot tell."""

    source: Source
    at: datetime
    seeds: int | None
    peers: int | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class PlaceAnswer:
    """A web seed, and whether its last answer was right."""

    url: str
    ok: bool


@dataclass(frozen=True, slots=True)
class SwarmAnswer:
    """A row of `health --json`; None means unknown. `size` in bytes, `copies` an estimate of complete copies.

    Seeds, peers and copies never include this node. `sightings` are what each source said.
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
        """Return the answer about a swarm now."""
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
    """The answer of `health --json`, most endangered swarm first."""

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
    """Examine the swarms that are due (`again`: all) for at most `seconds`; return how many were not reached.

    `own` is what a running node sees by itself. Findings are remembered at once; raises `DiskError`.
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
    """Return the swarms that names and globs match, all if there are none; raises `NotFoundError`, `UsageError`."""
    if not targets:
        return list(swarms)
    known = KnownSnapshots.of(
        (one.snapshot for one in swarms), "that is held or listed by a trusted index", "see `p2pqwen search`"
    )
    wanted = {snapshot for target in targets for snapshot in known.meant(target)}
    return sorted((one for one in swarms if one.snapshot in wanted), key=lambda one: one.snapshot)
