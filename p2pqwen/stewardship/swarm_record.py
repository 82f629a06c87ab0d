"""What is remembered of one swarm: each source's last look, each day's best look, when a complete copy was last seen.

Bounded: one look for each source, `HISTORY_DAYS` days.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.swarm_health import Day, Sighting, SwarmHealth, join, settled_seeds, trend_of

HISTORY_DAYS = 120
ROUND = timedelta(hours=12)
"""Looks of different sources within this time count together; older ones are dropped when there is a newer one."""


@dataclass(frozen=True, slots=True)
class WebSeedLook:
    """One look at a swarm's web seeds: how many were asked, and how many gave the right bytes.

    `places` are their addresses, each with whether it did; empty if an older version looked.
    """

    at: datetime
    asked: int
    ok: int
    places: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class SwarmRecord:
    """The memory of one swarm; `sightings` has one for each source, `days` are in order."""

    sightings: tuple[Sighting, ...] = ()
    days: tuple[Day, ...] = ()
    last_complete_seen: datetime | None = None
    web: WebSeedLook | None = None

    @property
    def looked(self) -> datetime | None:
        """When any source last saw anything of the swarm."""
        return max((one.at for one in self.sightings), default=None)


NEVER_SEEN = SwarmRecord()


def remember(before: SwarmRecord, sightings: Iterable[Sighting], web: WebSeedLook | None = None) -> SwarmRecord:
    """Add one round of looks; a source that gave no answer keeps its last one."""
    fresh = tuple(sightings)
    after = before if web is None else replace(before, web=web)
    if not fresh:
        return after
    by_source = {one.source: one for one in (*before.sightings, *fresh)}
    newest = max(one.at for one in by_source.values())
    complete = [one.at for one in fresh if one.seeds]
    known = [] if before.last_complete_seen is None else [before.last_complete_seen]
    return replace(
        after,
        sightings=tuple(one for one in by_source.values() if newest - one.at <= ROUND),
        days=_with_day(before.days, fresh),
        last_complete_seen=max((*complete, *known), default=None),
    )


def health_of(record: SwarmRecord, upstream: Upstream, now: datetime) -> SwarmHealth:
    """Return a swarm's health."""
    seen = join(record.sightings)
    web_seeds_ok = None if record.web is None else record.web.ok
    if seen is None:
        return SwarmHealth(last_complete_seen=record.last_complete_seen, web_seeds_ok=web_seeds_ok, upstream=upstream)
    return SwarmHealth(
        seeds=seen.seeds,
        peers=seen.peers,
        settled=settled_seeds(record.days, now.date()),
        looked=seen.at,
        last_complete_seen=record.last_complete_seen,
        web_seeds_ok=web_seeds_ok,
        upstream=upstream,
        trend=trend_of(record.days, now.date()),
        estimated=seen.estimated or seen.seeds is None,
    )


def _with_day(days: tuple[Day, ...], fresh: tuple[Sighting, ...]) -> tuple[Day, ...]:
    by_date = {one.day: one for one in days}
    for one in fresh:
        date = one.at.date()
        before = by_date.get(date, Day(date, None, None))
        by_date[date] = Day(date, _most(before.seeds, one.seeds), _most(before.peers, one.peers))
    return tuple(by_date[date] for date in sorted(by_date))[-HISTORY_DAYS:]


def _most(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
