"""The rule of `stewardship.allocation` in its most readable form: an object for each candidate, one after the other.

The column-based planner is compared with it. The two share constants and wording, but no step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from p2pqwen.stewardship import allocation
from p2pqwen.stewardship.allocation import SIZE_BONUS, Candidate, Decision, Disk, explain
from p2pqwen.stewardship.danger import expected_copies
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import SnapshotId


def fraction(node: bytes, snapshot: SnapshotId) -> float:
    digest = hashlib.blake2b(
        snapshot.commit.raw + str(snapshot.repo).encode(), digest_size=8, key=node[:64], person=b""
    ).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53


def _score(candidate: Candidate, node: bytes, budget: int, copies: float) -> float:
    need = copies - size_bonus(candidate.size, budget)
    moved = math.log(-math.log(fraction(node, candidate.snapshot)))
    return need + allocation.SPREAD * moved


def size_bonus(size: int, budget: int) -> float:
    """Return 0 for a size that is small compared with the budget, up to `SIZE_BONUS` for one that fills it."""
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
) -> tuple[list[Decision], list[Decision]]:
    """Choose what this node should hold within `budget` bytes, of which `used` are taken already.

    Preferred candidates come before all others. The same arguments give the same answer; among near-ties, another
    `node` gives another one.
    """
    possible, others = _sift(candidates)
    copies: dict[int, float] = {}  # by a health's `id`: most entries of a large index share one

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
    return chosen, others


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
    """Return the fullest disk that has room for it, which keeps room for large snapshots on others."""
    fitting = [(room, name) for name, room in rooms.items() if size <= room]
    return min(fitting)[1] if fitting else None


def _why_not(size: int, budget: int, free: int, left: int, roomiest: int, rooms: dict[str, int]) -> str:
    """Say what prevents it: the budget, what is held already, snapshots in greater need, or a disk.

    `free` and `roomiest` are what the budget and the roomiest disk had for all of this plan, `left` and `rooms` what
    snapshots in greater need leave.
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


def _left_by_needier(left: int) -> str:
    return f"{format_size(left)} of the budget left by needier ones"
