"""What should this node hold with N bytes? Neediest first, explained, and the same answer every time.

A snapshot's place in the queue is

    copies it can count on  -  size bonus (0 to SIZE_BONUS)  +  SPREAD * gumbel(hash of node and snapshot)

taken from the least. The size bonus is there because few disks can take the largest models. A node does not know the
others' disks, but its own is one of them: what fills much of it will not fit on many. Of the rules tried in
scripts/simulate_survival.py none lost less both in small circles and in large crowds: see scripts/SURVIVAL.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from p2pqwen.stewardship.danger import Danger, danger_of, expected_copies
from p2pqwen.stewardship.spread import fraction, gumbel
from p2pqwen.stewardship.swarm_health import UNSEEN, SwarmHealth
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import SnapshotId

SPREAD = 0.5
"""How far the hash moves a need, in copies: two snapshots one copy apart change places at one node in eight."""

SIZE_BONUS = 2.0
"""A snapshot that fills a node's whole budget counts as having two copies fewer, one of a tenth of it none; by the
logarithm between."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot that a node could hold. `refused`: why it is out of the question, in words.

    `has_room`: it was begun, and the room of the disks is less already what it has still to write.
    """

    snapshot: SnapshotId
    size: int
    health: SwarmHealth = UNSEEN
    preferred: bool = False
    refused: str | None = None
    has_room: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """Where payload may go. `free` bytes now, of which `reserve` are to stay free."""

    name: str
    free: int
    reserve: int = 0

    @property
    def room(self) -> int:
        """Bytes that may be taken."""
        return max(0, self.free - self.reserve)


@dataclass(frozen=True, slots=True)
class Decision:
    """A candidate and what becomes of it; `disk` where it was chosen. `reason` is for people."""

    snapshot: SnapshotId
    size: int
    reason: str
    disk: str | None = None

    @property
    def chosen(self) -> bool:
        """Whether to hold it."""
        return self.disk is not None


@dataclass(frozen=True, slots=True)
class Allocation:
    """The answer, in the order of need. Sizes in bytes; `used` is what of the budget was taken before."""

    budget: int
    used: int
    chosen: tuple[Decision, ...]
    others: tuple[Decision, ...]

    @property
    def size(self) -> int:
        """Bytes of everything chosen."""
        return sum(one.size for one in self.chosen)


def place_in_queue(candidate: Candidate, node: bytes, budget: int, now: datetime) -> float:
    """Return a candidate's score for one node with `budget` bytes; the least is taken first."""
    return _score(candidate, node, budget, expected_copies(candidate.health, now))


def _score(candidate: Candidate, node: bytes, budget: int, copies: float) -> float:
    need = copies - size_bonus(candidate.size, budget)
    return need + SPREAD * gumbel(fraction(node, candidate.snapshot))


def size_bonus(size: int, budget: int) -> float:
    """Return 0 for what is small beside a budget, up to `SIZE_BONUS` for what fills it."""
    if size <= 0 or budget <= 0:
        return 0.0
    return SIZE_BONUS * min(max(1.0 + math.log10(size / budget), 0.0), 1.0)


def allocate(
    candidates: Iterable[Candidate],
    *,
    node: bytes,
    budget: int,
    disks: Sequence[Disk],
    now: datetime,
    used: int = 0,
) -> Allocation:
    """Choose what this node should hold within `budget` bytes, of which `used` are taken already.

    Preferred candidates come before all others. The same arguments give the same answer; another `node` gives
    another one among near-ties.
    """
    possible, others = _sift(candidates)
    copies: dict[int, float] = {}  # by the identity of a health: most of a large index share one

    def turn(one: Candidate) -> tuple[bool, float, SnapshotId]:
        if (known := copies.get(id(one.health))) is None:
            known = copies[id(one.health)] = expected_copies(one.health, now)
        return not one.preferred, _score(one, node, budget, known), one.snapshot

    queue = sorted(possible, key=turn)
    rooms = {disk.name: disk.room for disk in disks}
    roomiest = max(rooms.values(), default=0)
    free = left = max(0, budget - used)
    chosen: list[Decision] = []
    for rank, one in enumerate(queue, 1):
        needed = 0 if one.has_room else one.size
        disk = _best_fit(rooms, needed) if one.size <= left else None
        if disk is None:
            others.append(Decision(one.snapshot, one.size, _why_not(one.size, budget, free, left, roomiest, rooms)))
            continue
        rooms[disk] -= needed
        left -= one.size
        chosen.append(Decision(one.snapshot, one.size, explain(one, rank, len(queue), now), disk))
    return Allocation(budget, used, tuple(chosen), tuple(others))


def explain(candidate: Candidate, rank: int, of: int, now: datetime) -> str:
    """Say why a candidate stands where it stands."""
    words = [
        f"{danger_of(candidate.health, now)}: {describe(candidate.snapshot, candidate.health, now)}",
        f"place {rank} of {of}",
    ]
    return ", ".join(["preferred"] * candidate.preferred + words)


def describe(snapshot: SnapshotId, health: SwarmHealth, now: datetime) -> str:
    """Say in words what is known of a snapshot's swarm, and of its origin; estimates are called that."""
    copies = health.copies(now)
    if copies is None:
        seen = "no check for copies yet"
    else:
        guessed = health.estimated or health.seeds is None or abs(copies - (health.seeds or 0)) >= 0.5
        number = round(copies, 1) if guessed and copies < 10 else round(copies)
        seen = f"{'about ' if guessed else ''}{number:g} {'copy' if number == 1 else 'copies'} seen"
    return f"{seen}, {snapshot.repo.kind.origin.label} {health.upstream}"


def _sift(candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[Decision]]:
    possible: list[Candidate] = []
    refused: list[Decision] = []
    for one in candidates:
        reason = one.refused
        if reason is None and one.health.obtainable() is False:
            reason = "no complete copy was seen, and no web seed answers"
        if reason is None:
            possible.append(one)
        else:
            refused.append(Decision(one.snapshot, one.size, reason))
    return possible, refused


def _best_fit(rooms: dict[str, int], size: int) -> str | None:
    """Return the fullest disk that still takes it, so that room for large ones is kept elsewhere."""
    fitting = [(room, name) for name, room in rooms.items() if size <= room]
    return min(fitting)[1] if fitting else None


def _why_not(size: int, budget: int, free: int, left: int, roomiest: int, rooms: dict[str, int]) -> str:
    """Say what stands in the way: the budget, what is held already, needier ones, or a disk.

    `free` and `roomiest` are what the budget and the roomiest disk had for all of this plan, `left` and `rooms` what
    needier ones leave.
    """
    if size > budget:
        return f"larger than the budget of {format_size(budget)}"
    if size > free:
        return f"{format_size(free)} of the budget left by what is held"
    if size > roomiest:
        return f"no disk has room: {format_size(roomiest)} at most, after reserves"
    if size > left:
        return _left_by_needier(left)
    return f"needier ones take the room: {format_size(max(rooms.values(), default=0))} left at most, after reserves"


@lru_cache(maxsize=256)
def _left_by_needier(left: int) -> str:
    return f"{format_size(left)} of the budget left by needier ones"


def in_danger(candidate: Candidate, now: datetime) -> bool:
    """Tell whether a snapshot is one to give up well-kept ones for."""
    return danger_of(candidate.health, now) in {Danger.CRITICAL, Danger.ENDANGERED}
