"""The swarms that matter here, and the remembered health of each. Asks no network.

Plans need only this module; those that ask swarms (`swarm_probe`, `health`) import far more.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from p2pqwen.containment import each, warn
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Report, ignore
from p2pqwen.index.entry import Entry, row_order
from p2pqwen.index.upstream import Upstream
from p2pqwen.index.voice import Voice
from p2pqwen.index.withdrawals import Withdrawn, all_withdrawn
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.stewardship.danger import Danger, danger_of
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, health_of
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class WatchedSwarm:
    """One snapshot whose swarm matters here: a trusted index lists it, or it is held, or both. Sizes in bytes.

    `magnet`: the index's, from which trackers are parsed on demand; `named`: the trackers of an unlisted torrent.
    `withdrawn`: the trusted publishers that withdrew it. `license`: the index's.
    """

    snapshot: SnapshotId
    infohash: InfoHash
    size: int
    magnet: str = ""
    named: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    upstream: Upstream = Upstream.UNKNOWN
    listed: bool = False
    held: HeldSnapshot | None = None
    held_bytes: int = 0  # of the wanted files, if any are held
    withdrawn: tuple[Withdrawn, ...] = ()
    license: str | None = None

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers to scrape."""
        return parse_magnet(self.magnet).trackers if self.magnet else self.named


@dataclass(frozen=True, slots=True)
class HealthRow:
    """One swarm, for a table."""

    swarm: WatchedSwarm
    record: SwarmRecord
    health: SwarmHealth

    def danger(self, now: datetime) -> Danger:
        """Return how close it is to being lost, not counting this node; what is whole here is not lost."""
        danger = danger_of(self.health, now)
        held = self.swarm.held
        return Danger.CRITICAL if danger is Danger.LOST and held is not None and _is_whole(held) else danger


def watched_swarms(
    library: Library, publishers: Sequence[TrustedPublisher], voices: Iterable[Voice]
) -> list[WatchedSwarm]:
    """Return what `each_watched` goes through, ordered by snapshot."""
    return sorted(each_watched(library, publishers, voices), key=attrgetter("snapshot"))


def each_watched(
    library: Library,
    publishers: Sequence[TrustedPublisher],
    voices: Iterable[Voice],
    report: Report = ignore,
    *,
    only: Collection[SnapshotId] | None = None,
) -> Iterator[WatchedSwarm]:
    """Yield what trusted indexes list, then what else is held, one at a time to bound memory.

    `voices` say what was withdrawn. With `only`, nothing else is read.
    """
    held, gone = {one.id: one for one in library.all() if only is None or one.id in only}, all_withdrawn(voices)
    besides = dict(held)
    for entry in each_listed(publishers) if only is None else listed_of(publishers, only):
        besides.pop(entry.id, None)
        yield WatchedSwarm(
            entry.id,
            entry.infohash,
            entry.size,
            magnet=entry.magnet,
            web_seeds=entry.bases,
            upstream=entry.upstream,
            listed=True,
            license=entry.license,
            held=held.get(entry.id),
            held_bytes=held_bytes(held.get(entry.id), entry.size),
            withdrawn=gone.get(entry.id, ()),
        )
    for one in each_unlisted(besides.values(), report):
        yield replace(one, withdrawn=gone.get(one.snapshot, ()))


def each_unlisted(held: Iterable[HeldSnapshot], report: Report = ignore) -> Iterator[WatchedSwarm]:
    """Yield the swarms of held snapshots from their torrents; warns about a torrent that cannot be read."""
    return iter(
        each(held, lambda one: _of_torrent(one, one.metainfo()), failed=warn(report, attrgetter("torrent_path")))
    )


def each_listed(publishers: Iterable[TrustedPublisher]) -> Iterator[Entry]:
    """Yield each listed snapshot once, in index order; if several publishers list one, the latest entry counts."""
    listings = [one.document.entries for one in publishers if one.document is not None]
    if len(listings) == 1:
        yield from listings[0]
        return
    latest: Entry | None = None
    for entry in heapq.merge(*listings, key=row_order):
        if latest is not None and entry.id != latest.id:
            yield latest
            latest = None
        if latest is None or entry.added >= latest.added:
            latest = entry
    if latest is not None:
        yield latest


def listed_of(publishers: Sequence[TrustedPublisher], snapshots: Iterable[SnapshotId]) -> Iterator[Entry]:
    """Yield the entries of `each_listed` for a few snapshots, without reading the others."""
    listings = [one.document.listing for one in publishers if one.document is not None]
    for snapshot in sorted(snapshots):
        found = [entry for listing in listings for entry in listing.find(snapshot)]
        if found:
            yield max(reversed(found), key=attrgetter("added"))  # of equals, the last of `found`


def health_rows(
    swarms: Iterable[WatchedSwarm],
    records: Mapping[SnapshotId, SwarmRecord],
    upstream: Mapping[SnapshotId, Upstream],
    now: datetime,
) -> list[HealthRow]:
    """Return the health of each swarm, in the order given."""
    unseen = {state: health_of(NEVER_SEEN, state, now) for state in Upstream}  # nearly all of a large index
    rows = []
    for swarm in swarms:
        record = records.get(swarm.snapshot, NEVER_SEEN) if records else NEVER_SEEN
        state = upstream.get(swarm.snapshot, swarm.upstream) if upstream else swarm.upstream
        rows.append(HealthRow(swarm, record, unseen[state] if record is NEVER_SEEN else health_of(record, state, now)))
    return rows


def _is_whole(held: HeldSnapshot) -> bool:
    return held.state is State.COMPLETE and held.selected is None


def _of_torrent(held: HeldSnapshot, metainfo: Metainfo) -> WatchedSwarm:
    return WatchedSwarm(
        held.id,
        metainfo.infohash,
        metainfo.layout.total_size,
        named=tuple(url for tier in metainfo.trackers for url in tier),
        web_seeds=metainfo.web_seeds,
        held=held,
        held_bytes=held.held_bytes(metainfo),
    )


def held_bytes(held: HeldSnapshot | None, size: int) -> int:
    """Return the bytes that a snapshot of `size` bytes takes here: of a partial one, only the chosen files."""
    if held is None or held.selected is None:
        return 0 if held is None else size
    try:
        return held.held_bytes(held.metainfo())
    except P2pqwenError:
        return size
