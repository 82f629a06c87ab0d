"""What is known of one swarm at one moment, combined from looks that each saw a part of it.

No look is a census. A tracker counts the peers that announce to it, the DHT those that announce there, and one peer may
be in both. So counts are never added up: the highest one is a lower bound that one source really saw. Our own copy is
never counted: what is remembered is how many others have it.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from p2pqwen.index.upstream import Upstream

# After this time without a look, a seed is still there with a chance of one half. Home nodes in
# scripts/simulate_survival.py stay for about 9 months; half of them are gone after 6.
HALF_LIFE = timedelta(days=180)
# A look from today is current: 4 copies seen an hour ago are 4, not a little less.
UNFADED = timedelta(days=1)

# The DHT's plain get_peers does not tell seeds from others (BEP 5). In the swarms of an archive most peers are seeds;
# half of them is a careful guess, always marked as one.
SEEDS_AMONG_PEERS = 0.5

# A single look misses machines that run only in the evening; the best look of each day sees them.
SETTLING_DAYS = 7


class Source(enum.StrEnum):
    """What reported the numbers."""

    TRACKER = "tracker"
    DHT = "dht"
    CONNECTIONS = "connections"

    @property
    def words(self) -> str:
        """Its name for people."""
        return "DHT" if self is Source.DHT else self.value


class Trend(enum.StrEnum):
    """How the number of copies changes."""

    RISING = "rising"
    STEADY = "steady"
    FALLING = "falling"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at one swarm. `seeds`: complete copies, None if the source cannot tell; `peers`: all, seeds included.

    This node is not counted: `of_others` takes it out of a source's counts.

    `estimated`: from a sketch such as BEP 33's bloom filters, not a count.
    """

    at: datetime
    source: Source
    seeds: int | None
    peers: int | None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """The best look of one day: the most seeds and peers that any one source reported."""

    day: date
    seeds: int | None
    peers: int | None


@dataclass(frozen=True, slots=True)
class SwarmHealth:
    """What is known of one swarm; None means that no source was asked or none could tell, never zero.

    `seeds` and `peers` are those of the last look (`looked`); `settled` smooths the seeds over a week of looks.
    `web_seeds_ok` counts the web seeds that answered when they were last tried.
    """

    seeds: int | None = None
    peers: int | None = None
    settled: float | None = None
    looked: datetime | None = None
    last_complete_seen: datetime | None = None
    web_seeds_ok: int | None = None
    upstream: Upstream = Upstream.UNKNOWN
    trend: Trend = Trend.UNKNOWN
    estimated: bool = False

    def copies(self, now: datetime) -> float | None:
        """Estimate how many complete copies there are now: those seen, fading with the age of the look."""
        if self.looked is None:
            return None
        seen = self.settled if self.settled is not None else self.seeds
        if seen is None:
            if self.peers is None:
                return None
            seen = self.peers * SEEDS_AMONG_PEERS
        age = max(timedelta(0), now - self.looked - UNFADED)
        return float(seen * 0.5 ** (age / HALF_LIFE))

    def obtainable(self) -> bool | None:
        """Tell whether anyone is known to have it: None if unknown, False if every source that was asked had none."""
        if self.seeds or self.peers or self.web_seeds_ok or self.upstream is Upstream.PRESENT:
            return True
        asked_swarm = self.looked is not None and self.seeds is not None
        asked_web = self.web_seeds_ok is not None or self.upstream is Upstream.GONE
        return False if asked_swarm and asked_web else None


def of_others(seen: Sighting, *, whole: bool) -> Sighting:
    """Take this node, which announces the snapshot, out of a source's counts; `whole`: it is one of the seeds.

    If the source has not heard of this node yet, the counts lose another peer, and are still a lower bound.
    """
    seeds = seen.seeds if seen.seeds is None or not whole else max(0, seen.seeds - 1)
    return replace(seen, seeds=seeds, peers=None if seen.peers is None else max(0, seen.peers - 1))


UNSEEN = SwarmHealth()
"""Health before any look."""


def join(sightings: Iterable[Sighting]) -> Sighting | None:
    """Return the highest counts of any source in one round of looks; None if there were none."""
    seen = list(sightings)
    if not seen:
        return None
    if len(seen) == 1 and (seen[0].seeds is None or (seen[0].peers or 0) >= seen[0].seeds):
        return seen[0]
    best = max(seen, key=lambda one: (one.seeds or 0, one.peers or 0))
    seeds = max((one.seeds for one in seen if one.seeds is not None), default=None)
    peers = max((one.peers for one in seen if one.peers is not None), default=None)
    if seeds is not None:
        peers = max(peers or 0, seeds)
    return Sighting(max(one.at for one in seen), best.source, seeds, peers, estimated=best.estimated)


def settled_seeds(days: Iterable[Day], today: date) -> float | None:
    """Return the median of the last week's best daily counts; None if no day had one."""
    first = today - timedelta(days=SETTLING_DAYS)
    counts = [one.seeds for one in days if one.seeds is not None and first < one.day <= today]
    return float(statistics.median(counts)) if counts else None


def trend_of(days: Sequence[Day], today: date) -> Trend:
    """Compare this week's best daily counts with those of the 3 weeks before it.

    A change of less than a fifth, or of less than one copy, is noise.
    """
    week = today - timedelta(days=SETTLING_DAYS)
    month = today - timedelta(days=4 * SETTLING_DAYS)
    recent = [one.seeds for one in days if one.seeds is not None and week < one.day <= today]
    before = [one.seeds for one in days if one.seeds is not None and month < one.day <= week]
    if not recent or not before:
        return Trend.UNKNOWN
    now, then = statistics.fmean(recent), statistics.fmean(before)
    if abs(now - then) < max(1.0, 0.2 * then):
        return Trend.STEADY
    return Trend.RISING if now > then else Trend.FALLING
