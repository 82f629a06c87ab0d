"""Examine swarms: scrape their trackers, ask the DHT, and read one small file from each web seed.

A source that does not answer adds nothing. Nothing is stored here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from p2pqwen.containment import each, each_at_once
from p2pqwen.errors import NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.mirrors.reading import Timeouts, read
from p2pqwen.operations.archive.watched import WatchedSwarm
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.stewardship.swarm_health import Sighting, Source, join, of_others
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, WebSeedLook
from p2pqwen.swarm import tracker_scrape
from p2pqwen.swarm.dht import SwarmCount
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.bases import Base, combine_bases

WEB_AGAIN = timedelta(days=1)
MAX_TRACKERS = 8
"""For one swarm."""
MAX_BASES = 4
AT_ONCE = 4
SURE_OF_NOBODY = 4
"""DHT nodes that must have answered before "nobody announced" is believed."""
MAX_SAMPLE = 256 << 10
_EVERY_REPO_HAS = RepoPath(".gitattributes")
_TIMEOUTS = Timeouts(answer=10.0, total=30.0)

Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class Probes:
    """Whom to ask. `dht` None, or False for the others: do not ask. Web seeds are asked once in `web_again`.

    `named` are the private hosts that the user named.
    """

    dht: DhtAccess | None = None
    trackers: bool = True
    web_seeds: bool = True
    named: NamedHosts = NONE_NAMED
    web_again: timedelta = WEB_AGAIN


@dataclass(frozen=True, slots=True)
class Look:
    """What one round showed of one swarm."""

    sightings: tuple[Sighting, ...] = ()
    web: WebSeedLook | None = None


async def look_at(
    swarms: Sequence[WatchedSwarm],
    probes: Probes,
    records: Mapping[SnapshotId, SwarmRecord],
    *,
    clock: Callable[[], datetime],
    announced: Mapping[SnapshotId, bool] = MappingProxyType({}),
    seconds: float | None = None,
    report: Report = ignore,
) -> dict[SnapshotId, Look]:
    """Examine these swarms through every source that is not switched off; one that does not answer adds nothing.

    `announced` are the snapshots that this node announces, True for a whole one: this node is left out of the counts.
    After `seconds`, the answers so far are returned.
    """
    seen = _Seen(announced)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            sides: dict[str, Callable[[], Awaitable[None]]] = {
                "trackers": lambda: _ask_trackers(swarms if probes.trackers else (), probes.named, seen, clock, report),
                "DHT": lambda: _ask_dht(swarms, probes.dht, seen, clock, report),
                "web seeds": lambda: _ask_web_seeds(
                    swarms if probes.web_seeds else (), records, probes, seen, clock, report
                ),
            }
            await each_at_once(sides, lambda side: sides[side](), failed=_tell(report))
    return {swarm.snapshot: seen.look(swarm.snapshot) for swarm in swarms}


@dataclass(slots=True)
class _Seen:
    """The answers so far."""

    announced: Mapping[SnapshotId, bool]
    trackers: dict[SnapshotId, list[Sighting]] = field(default_factory=dict)
    dht: dict[SnapshotId, Sighting] = field(default_factory=dict)
    web: dict[SnapshotId, WebSeedLook] = field(default_factory=dict)

    def look(self, snapshot: SnapshotId) -> Look:
        sides = join(self.trackers.get(snapshot, ())), self.dht.get(snapshot)
        seen = (one for one in sides if one is not None)
        if (whole := self.announced.get(snapshot)) is not None:
            seen = (of_others(one, whole=whole) for one in seen)
        return Look(tuple(seen), self.web.get(snapshot))


async def _ask_trackers(
    swarms: Sequence[WatchedSwarm], named: NamedHosts, seen: _Seen, clock: Callable[[], datetime], report: Report
) -> None:
    of_tracker: dict[str, list[WatchedSwarm]] = {}

    def name(swarm: WatchedSwarm) -> None:
        for url in swarm.trackers[:MAX_TRACKERS]:
            of_tracker.setdefault(url, []).append(swarm)

    each(swarms, name, failed=_tell(report, lambda swarm: swarm.snapshot))
    questions = [
        (url, some[start : start + tracker_scrape.MAX_AT_ONCE])
        for url, some in of_tracker.items()
        for start in range(0, len(some), tracker_scrape.MAX_AT_ONCE)
    ]

    async def ask(question: tuple[str, Sequence[WatchedSwarm]]) -> None:
        url, some = question
        found = await _scrape(url, [one.infohash.v1 for one in some], named)
        for swarm in some:
            # Trackers leave out torrents that nobody has announced to them.
            one = found.get(swarm.infohash.v1, tracker_scrape.NOBODY)
            seen.trackers.setdefault(swarm.snapshot, []).append(Sighting(clock(), Source.TRACKER, one.seeds, one.peers))

    await each_at_once(questions, ask, failed=_tell(report, lambda one: f"tracker {one[0]}"), at_once=AT_ONCE)


async def _scrape(tracker: str, torrents: Sequence[Sha1], named: NamedHosts) -> Mapping[Sha1, tracker_scrape.Scraped]:
    if tracker.startswith("udp:"):
        return await tracker_scrape.scrape_udp(tracker, torrents, named=named)
    url = tracker_scrape.scrape_url(tracker, torrents)
    if url is None:
        raise NotFoundError("it cannot be asked for numbers")
    answer = await read(url, max_bytes=tracker_scrape.MAX_ANSWER, named=named, timeouts=_TIMEOUTS)
    return tracker_scrape.parse_scrape(answer)


async def _ask_dht(
    swarms: Sequence[WatchedSwarm],
    access: DhtAccess | None,
    seen: _Seen,
    clock: Callable[[], datetime],
    report: Report,
) -> None:
    if access is None:
        return
    async with access.open() as dht:

        async def ask(swarm: WatchedSwarm) -> None:
            look = _sighting(await dht.count(swarm.infohash.v1), clock())
            if look is not None:
                seen.dht[swarm.snapshot] = look

        await each_at_once(swarms, ask, failed=_tell(report, lambda one: f"DHT, {one.snapshot}"), at_once=AT_ONCE)


def _sighting(count: SwarmCount, now: datetime) -> Sighting | None:
    if count.peers:
        return Sighting(now, Source.DHT, count.seeds, count.peers, estimated=True)
    return Sighting(now, Source.DHT, 0, 0, estimated=True) if count.answered >= SURE_OF_NOBODY else None


async def _ask_web_seeds(
    swarms: Sequence[WatchedSwarm],
    records: Mapping[SnapshotId, SwarmRecord],
    probes: Probes,
    seen: _Seen,
    clock: Callable[[], datetime],
    report: Report,
) -> None:
    async def ask(swarm: WatchedSwarm) -> None:
        name = str(swarm.snapshot.commit)
        bases = combine_bases(name, swarm.snapshot.repo, indexes=[swarm.web_seeds]).usable[:MAX_BASES]
        path, digest = await asyncio.to_thread(_sample, swarm)
        tell = _tell(report, lambda base: f"web seed {base}")

        async def one(base: Base) -> tuple[str, bool] | None:
            right = await _serves(base, path, digest, probes.named)
            return None if right is None else (base.url, right)

        found = await each_at_once(bases, one, failed=tell, at_once=1)
        answered = tuple(one for one in found if one is not None)
        if answered:
            seen.web[swarm.snapshot] = WebSeedLook(
                clock(), len(answered), sum(right for _, right in answered), answered
            )

    def is_due(swarm: WatchedSwarm) -> bool:
        web = records.get(swarm.snapshot, NEVER_SEEN).web
        return bool(swarm.web_seeds) and (web is None or now - web.at >= probes.web_again)

    now = clock()
    wanted = [swarm for swarm in swarms if is_due(swarm)]
    await each_at_once(wanted, ask, failed=_tell(report, lambda one: f"web seeds of {one.snapshot}"), at_once=AT_ONCE)


async def _serves(base: Base, path: RepoPath, digest: Sha256 | None, named: NamedHosts) -> bool | None:
    """Tell whether a web seed serves a file correctly; None if the answer proves nothing."""
    try:
        data = await read(base.file_url(path), max_bytes=MAX_SAMPLE, named=named, timeouts=_TIMEOUTS)
    except NotFoundError:
        return None if digest is None else False  # that this file exists was only a guess
    except P2pqwenError:
        return False
    return digest is None or Sha256.of(data) == digest


def _sample(swarm: WatchedSwarm) -> tuple[RepoPath, Sha256 | None]:
    """Return a small file to ask for, with its hash if the snapshot's files are known here."""
    try:
        manifest = None if swarm.held is None else swarm.held.torrent().manifest
        rows = () if manifest is None else manifest.files
    except P2pqwenError:
        rows = ()
    small = min((row for row in rows if 0 < row.size <= MAX_SAMPLE), key=lambda row: row.size, default=None)
    return (_EVERY_REPO_HAS, None) if small is None else (small.path, small.sha256)


def _tell(report: Report, name: Callable[[Asked], object] = str) -> Callable[[Asked, P2pqwenError], None]:
    """Return a function that reports who gave no answer; this is not remembered."""
    return lambda one, error: report(Notice("info", f"{name(one)}: {error.message}"))
