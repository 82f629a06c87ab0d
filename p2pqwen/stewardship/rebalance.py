"""Give up well-kept snapshots for endangered ones, slowly, and never one that would then be short of copies.

Against flapping: 1. a snapshot is taken only below FLOOR copies, and given up only if more than twice FLOOR remain
without us; 2. what was taken stays at least `MIN_STAY`; 3. in each period only 1 holder in 10 may give up a snapshot,
drawn by the hash of node, snapshot and period, so that not all holders act on the same surplus; 4. at most a tenth of
the budget, or one snapshot, moves at once; 5. knowledge older than `FRESH` moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from p2pqwen.stewardship.allocation import Candidate, Decision, Decisions, Offers, describe
from p2pqwen.stewardship.danger import FLOOR
from p2pqwen.stewardship.spread import fraction
from p2pqwen.stewardship.swarm_health import UNSEEN, SwarmHealth
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import SnapshotId

GIVE_ABOVE = 2 * FLOOR
MIN_STAY = timedelta(days=30)
FRESH = timedelta(days=7)
PERIOD = timedelta(days=28)
SHARE_THAT_MAY_GIVE = 0.1
SHARE_OF_BUDGET = 0.1
_ENOUGH_MOVED = "at most a tenth of the budget moves in one round"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Holding:
    """A complete snapshot this node holds. `listed`: a trusted index names it, so that others can find it.

    `withdrawn`: who withdrew it and why, in words. That alone does not make the node give it up: someone who stole a
    publisher's key must not be able to empty the nodes of those who trust it.
    """

    snapshot: SnapshotId
    size: int
    since: datetime
    health: SwarmHealth = UNSEEN
    pinned: bool = False
    listed: bool = True
    withdrawn: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One snapshot to take, and those given up for it; none if there is room."""

    take: Decision
    give: tuple[Decision, ...] = ()


@dataclass(frozen=True, slots=True)
class Rebalance:
    """What to take and what to give up for it; `kept` says why each of the other holdings stays.

    `left_out`: endangered snapshots that are not taken in this round, and why.
    """

    exchanges: tuple[Exchange, ...]
    kept: tuple[Decision, ...]
    left_out: Decisions = field(default_factory=Decisions)

    @property
    def take(self) -> tuple[Decision, ...]:
        """Everything to take."""
        return tuple(one.take for one in self.exchanges)

    @property
    def give(self) -> tuple[Decision, ...]:
        """Everything to give up."""
        return tuple(gone for one in self.exchanges for gone in one.give)


def rebalance(
    offers: Offers,
    holdings: Sequence[Holding],
    *,
    node: bytes,
    budget: int,
    now: datetime,
    room: int | None = None,
    used: int | None = None,
) -> Rebalance:
    """Plan one round of changes within `budget` bytes; the same arguments give the same plan.

    `used`: the part of the budget already taken, by default the size of `holdings`; `room`: bytes free on the disks.
    """
    reasons = {one.snapshot: why_kept(one, node, now) for one in holdings}
    spare = [one for one in holdings if reasons[one.snapshot] is None]
    spare.sort(key=lambda one: (-_others(one, now), one.snapshot))
    left = budget - (sum(one.size for one in holdings) if used is None else used)
    disk_is_short = room is not None and room < left
    left = left if room is None else min(left, room)
    may_go = sum(one.size for one in spare)
    passed: list[int] = []
    said: list[str] = []
    moved, limit = 0, max(1, int(budget * SHARE_OF_BUDGET))
    exchanges: list[Exchange] = []
    for place in offers.queue(offers.in_danger(now), node, budget, now):
        size = offers.sizes[place]
        if exchanges and moved + size > limit:
            reason = _ENOUGH_MOVED
        elif size - left > may_go:
            reason = _no_room(left, may_go, disk_is_short=disk_is_short)
        else:
            reason = None
        if reason is not None:
            passed.append(place)
            said.append(reason)
            continue
        one = offers.candidate(place)
        leaving = _make_room(spare, size - left)
        freed = sum(gone.size for gone in leaving)
        left += freed - size
        may_go -= freed
        moved += size
        spare = spare[len(leaving) :]
        taken = Decision(one.snapshot, size, f"endangered: {describe(one.snapshot, one.health, now)}", disk="")
        given = tuple(Decision(gone.snapshot, gone.size, _why_given(gone, one, now)) for gone in leaving)
        exchanges.append(Exchange(taken, given))
    given_up = {gone.snapshot for one in exchanges for gone in one.give}
    spared = _why_spared(said)
    kept = [
        Decision(one.snapshot, one.size, reasons[one.snapshot] or spared)
        for one in holdings
        if one.snapshot not in given_up
    ]
    left_out = Decisions([offers.names[place] for place in passed], [offers.sizes[place] for place in passed], said)
    return Rebalance(tuple(exchanges), tuple(kept), left_out)


@lru_cache(maxsize=256)
def _no_room(left: int, may_go: int, *, disk_is_short: bool) -> str:
    where = "free on the roomiest disk, after its reserve" if disk_is_short else "of the budget left"
    others = f"giving up all that may go frees {format_size(may_go)} more" if may_go else "nothing held may be given up"
    return f"no room: {format_size(max(0, left))} {where}, and {others}"


def _why_spared(left_out: Iterable[str]) -> str:
    if any(reason != _ENOUGH_MOVED for reason in left_out):
        return "well kept, but giving it up makes too little room for what is endangered"
    return "well kept, but its space is not needed"


def why_kept(holding: Holding, node: bytes, now: datetime) -> str | None:
    """Return why a holding must stay, None if it may be given up."""
    if holding.pinned:
        return "pinned"
    if holding.withdrawn:
        return f"{holding.withdrawn}; only `p2pqwen remove` gives it up"
    if not holding.listed:
        return "no trusted index lists it: others could not find it"
    if now - holding.since < MIN_STAY:
        return f"held for less than {MIN_STAY.days} days"
    looked = holding.health.looked
    if looked is None or now - looked > FRESH:
        return f"its swarm was not checked for {FRESH.days} days"
    others = _others(holding, now)
    if others <= GIVE_ABOVE:
        return f"only {others:.0f} copies would be left, and more than {GIVE_ABOVE:.0f} should"
    period = int((now - _EPOCH) / PERIOD)
    if fraction(node, holding.snapshot, b"give %d" % period) >= SHARE_THAT_MAY_GIVE:
        return "other holders give it up first"
    return None


def _others(holding: Holding, now: datetime) -> float:
    """Return the copies that peers would have without us; web seeds do not count, since all may go at once."""
    return holding.health.copies(now) or 0.0


def _make_room(spare: Sequence[Holding], missing: int) -> list[Holding]:
    """Return the best-kept holdings that together free `missing` bytes; the caller knows that there are enough."""
    leaving: list[Holding] = []
    for one in spare:
        if missing <= 0:
            break
        leaving.append(one)
        missing -= one.size
    return leaving


def _why_given(gone: Holding, taken: Candidate, now: datetime) -> str:
    return f"about {_others(gone, now):.0f} copies remain without this one; makes room for {taken.snapshot.repo}"
