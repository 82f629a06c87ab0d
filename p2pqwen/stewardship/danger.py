"""How near a snapshot is to being lost, as one number and a word, and the order from worst to best."""

from __future__ import annotations

import enum
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.snapshot_id import SnapshotId

FLOOR = 4.0
"""Copies that should be left whatever happens. With a third of the copies lost in a quarter (a bad one: a hosting
company closes), four become none once in eighty."""

# The Hub serves day and night, but it can take down everything at once: worth two seeds at home, not ten.
HUB_WORTH = 2.0
MIRROR_WORTH = 1.0
MIRRORS_COUNTED = 2


class Danger(enum.StrEnum):
    """What one would tell a person. Ordered from worst to best, `UNKNOWN` in between: it may be either."""

    LOST = "lost?"  # everybody who was asked had no copy; somebody offline may
    CRITICAL = "critical"
    ENDANGERED = "endangered"
    UNKNOWN = "unknown"  # nobody has looked for copies, or nobody answered: that is no danger yet, nor safety
    THIN = "thin"
    WELL_KEPT = "well kept"


_ORDER = {danger: rank for rank, danger in enumerate(Danger)}


def expected_copies(health: SwarmHealth, now: datetime) -> float:
    """Return the copies a snapshot may count on: those of peers, and the worth of web seeds that answer.

    A snapshot nobody has looked for counts as having none.
    """
    copies = health.copies(now) or 0.0
    answering = health.web_seeds_ok or 0
    if health.upstream is Upstream.PRESENT:
        # The Hub is one of the web seeds that answered, if any did.
        return copies + HUB_WORTH + MIRROR_WORTH * min(max(0, answering - 1), MIRRORS_COUNTED)
    return copies + MIRROR_WORTH * min(answering, MIRRORS_COUNTED)


def danger_of(health: SwarmHealth, now: datetime) -> Danger:
    """Put a word to it."""
    if health.obtainable() is False:
        return Danger.LOST
    value = expected_copies(health, now)
    if health.copies(now) is None and value < FLOOR:  # web seeds alone may be enough; too few of them say nothing
        return Danger.UNKNOWN
    if value < FLOOR / 2:
        return Danger.CRITICAL
    if value < FLOOR:
        return Danger.ENDANGERED
    return Danger.THIN if value < 2 * FLOOR else Danger.WELL_KEPT


def danger_key(snapshot: SnapshotId, size: int, health: SwarmHealth, now: datetime) -> tuple[int, float, int, str]:
    """Sort by this, worst first; of equals the larger first, which fewer disks can take."""
    return _ORDER[danger_of(health, now)], expected_copies(health, now), -size, str(snapshot)
