"""How close a snapshot is to being lost, as a number and a word, and the order from worst to best."""

from __future__ import annotations

import enum
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.snapshot_id import SnapshotId

FLOOR = 4.0
"""Copies that should be left whatever happens. If a third of the copies are lost in a quarter (a bad one: a hosting
company closes), 4 copies become none once in 80 quarters."""

# The Hub serves day and night, but can take down everything at once: worth 2 seeds at home, not 10.
HUB_WORTH = 2.0
MIRROR_WORTH = 1.0
MIRRORS_COUNTED = 2


class Danger(enum.StrEnum):
    """The word for people, from worst to best, with `UNKNOWN` in between: it may be either."""

    LOST = "lost?"  # every source that was asked had no copy; someone offline may have one
    CRITICAL = "critical"
    ENDANGERED = "endangered"
    UNKNOWN = "unknown"  # copies were not looked for, or no source answered: neither danger nor safety
    THIN = "thin"
    WELL_KEPT = "well kept"


_ORDER = {danger: rank for rank, danger in enumerate(Danger)}


def expected_copies(health: SwarmHealth, now: datetime) -> float:
    """Return the copies a snapshot can count on: those of peers, and the worth of web seeds that answer.

    A snapshot whose copies were never looked for counts as having none.
    """
    copies = health.copies(now) or 0.0
    answering = health.web_seeds_ok or 0
    if health.upstream is Upstream.PRESENT:
        # The Hub is one of the web seeds that answered, if any did.
        return copies + HUB_WORTH + MIRROR_WORTH * min(max(0, answering - 1), MIRRORS_COUNTED)
    return copies + MIRROR_WORTH * min(answering, MIRRORS_COUNTED)


def danger_of(health: SwarmHealth, now: datetime) -> Danger:
    """Return the word for a swarm's danger."""
    if health.obtainable() is False:
        return Danger.LOST
    value = expected_copies(health, now)
    if health.copies(now) is None and value < FLOOR:  # web seeds alone may be enough; if too few, nothing is known
        return Danger.UNKNOWN
    if value < FLOOR / 2:
        return Danger.CRITICAL
    if value < FLOOR:
        return Danger.ENDANGERED
    return Danger.THIN if value < 2 * FLOOR else Danger.WELL_KEPT


def danger_key(snapshot: SnapshotId, size: int, health: SwarmHealth, now: datetime) -> tuple[int, float, int, str]:
    """Return a sort key, worst first; of equals the larger first, since fewer disks can take it."""
    return _ORDER[danger_of(health, now)], expected_copies(health, now), -size, str(snapshot)
