"""What should this node hold with N bytes? The neediest first, explained, and the same answer every time.

A snapshot's place in the queue is

    copies it can count on  -  size bonus (0 to SIZE_BONUS)  +  SPREAD * gumbel(hash of node and snapshot)

and the least comes first. The size bonus exists because few disks can take the largest models. A node does not know the
others' disks, but its own is one of them: a snapshot that fills much of it will not fit on many. Of the rules tried in
scripts/simulate_survival.py, none lost less in both small circles and large crowds: see scripts/SURVIVAL.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias, overload

from p2pqwen.stewardship.danger import Danger, danger_of, expected_copies
from p2pqwen.stewardship.spread import fractions, gumbel
from p2pqwen.stewardship.swarm_health import UNSEEN, SwarmHealth
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

SPREAD = 0.5
"""How far the hash moves a need, in copies: two snapshots one copy apart change places at 1 node in 8."""

SIZE_BONUS = 2.0
"""A snapshot that fills a node's whole budget counts as having 2 copies fewer, one of a tenth of it none fewer; in
between, by the logarithm."""

_IN_DANGER = frozenset({Danger.CRITICAL, Danger.ENDANGERED})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot that a node could hold. `refused`: why it must not be chosen, in words.

    `has_room`: it was begun, and the bytes it still has to write are already subtracted from the disks' room.
    """

    snapshot: SnapshotId
    size: int
    health: SwarmHealth = UNSEEN
    preferred: bool = False
    refused: str | None = None
    has_room: bool = False


@dataclass(frozen=True, slots=True)
class Offers:
    """Candidates in columns, one position in each list for each: 100,000 objects would cost more than the plan.

    `names` are `str` of the snapshots, `sizes` in bytes. `order`: the positions to choose from, by snapshot.
    `preferred`, `has_room` and `refused` are as in `Candidate`; refusals are reported in the order of `refused`.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    healths: Sequence[SwarmHealth]
    order: Sequence[int]
    preferred: Collection[int] = frozenset()
    has_room: Collection[int] = frozenset()
    refused: Mapping[int, str] = field(default_factory=dict)

    def candidate(self, place: int) -> Candidate:
        """Return one candidate as an object."""
        return Candidate(
            _snapshot(self.names[place]),
            self.sizes[place],
            self.healths[place],
            preferred=place in self.preferred,
            refused=self.refused.get(place),
            has_room=place in self.has_room,
        )

    def in_danger(self, now: datetime) -> list[int]:
        """Return the positions of obtainable snapshots in danger, for which well-kept ones may be given up.

        Refused ones are left out.
        """
        endangered = {
            id(one) for one in _distinct(self.healths) if one.obtainable() and danger_of(one, now) in _IN_DANGER
        }
        if not endangered:
            return []
        return [place for place in self.order if id(self.healths[place]) in endangered and place not in self.refused]

    def queue(self, places: Sequence[int], node: bytes, budget: int, now: datetime) -> list[int]:
        """Return positions in the order in which one node with `budget` bytes takes them.

        Preferred ones come first, then the neediest, and of equals the first by snapshot.
        """
        scores = dict(zip(places, self.scores(places, node, budget, now), strict=True))
        queue = sorted(places, key=scores.__getitem__)
        if self.preferred:
            queue.sort(key=lambda place: place not in self.preferred)
        return queue

    def scores(self, places: Sequence[int], node: bytes, budget: int, now: datetime) -> Iterator[float]:
        """Yield the score of each position for one node with `budget` bytes; the least is taken first."""
        copies = {id(health): expected_copies(health, now) for health in _distinct(self.healths)}
        spread = fractions(node, [self.names[place] for place in places])
        for place, moved in zip(places, map(gumbel, spread), strict=True):
            need = copies[id(self.healths[place])] - size_bonus(self.sizes[place], budget)
            yield need + SPREAD * moved


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk for payload. `free` bytes now, of which `reserve` must stay free."""

    name: str
    free: int
    reserve: int = 0

    @property
    def room(self) -> int:
        """Bytes that may be used."""
        return max(0, self.free - self.reserve)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a candidate; `disk` is set if it was chosen. `reason` is for people."""

    snapshot: SnapshotId
    size: int
    reason: str
    disk: str | None = None

    @property
    def chosen(self) -> bool:
        """Whether to hold it."""
        return self.disk is not None


Plain: TypeAlias = tuple[str, int, str]
"""What is reported of a snapshot that was not chosen: its `str`, its size in bytes, and the reason."""


class Decisions(Sequence[Decision]):
    """Decisions against 100,000 snapshots, each made into an object only on demand."""

    def __init__(self, names: Sequence[str] = (), sizes: Sequence[int] = (), reasons: Sequence[str] = ()) -> None:
        self._names, self._sizes, self._reasons = names, sizes, reasons

    def plain(self) -> Iterator[Plain]:
        """Yield each without making an object."""
        return zip(self._names, self._sizes, self._reasons, strict=True)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Decision]:
        return (Decision(_snapshot(name), size, reason) for name, size, reason in self.plain())

    @overload
    def __getitem__(self, index: int) -> Decision: ...
    @overload
    def __getitem__(self, index: slice) -> Decisions: ...
    def __getitem__(self, index: int | slice) -> Decision | Decisions:
        if isinstance(index, slice):
            return Decisions(self._names[index], self._sizes[index], self._reasons[index])
        return Decision(_snapshot(self._names[index]), self._sizes[index], self._reasons[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decisions) and list(self.plain()) == list(other.plain())

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Allocation:
    """The answer, in order of need. Sizes in bytes; `used` is the part of the budget already taken."""

    budget: int
    used: int
    chosen: tuple[Decision, ...]
    others: Decisions

    @property
    def size(self) -> int:
        """Bytes of everything chosen."""
        return sum(one.size for one in self.chosen)


def size_bonus(size: int, budget: int) -> float:
    """Return 0 for a snapshot that is small beside a budget, up to `SIZE_BONUS` for one that fills it."""
    if size <= 0 or budget <= 0 or size / budget <= 0.1:  # most are small; this saves computing a logarithm
        return 0.0
    return SIZE_BONUS * min(max(1.0 + math.log10(size / budget), 0.0), 1.0)


def why_unobtainable(health: SwarmHealth) -> str | None:
    """Return why nobody can get a snapshot, None if someone may."""
    return "no complete copy was seen, and no web seed answers" if health.obtainable() is False else None


def choose(
    offers: Offers, *, node: bytes, budget: int, disks: Sequence[Disk], now: datetime, used: int = 0
) -> Allocation:
    """Choose what this node should hold within `budget` bytes, of which `used` are taken already.

    Preferred candidates come before all others. The same arguments give the same answer; another `node` decides
    near-ties differently.
    """
    places = [place for place in offers.order if place not in offers.refused]
    queue = offers.queue(places, node, budget, now)
    rooms = {disk.name: disk.room for disk in disks}
    roomiest = max(rooms.values(), default=0)
    free = left = max(0, budget - used)
    never = (
        (budget, f"larger than the budget of {format_size(budget)}"),
        (free, f"{format_size(free)} of the budget left by what is held"),
        (roomiest, f"no disk has room: {format_size(roomiest)} at most, after reserves"),
    )
    largest = min(most for most, _ in never)
    chosen: list[Decision] = []
    passed, reasons = list(offers.refused), list(offers.refused.values())
    sizes = offers.sizes
    for rank, place in enumerate(queue, 1):
        size = sizes[place]
        if size <= left:
            needed = 0 if place in offers.has_room else size
            disk = _best_fit(rooms, needed)
            if disk is not None:
                rooms[disk] -= needed
                left -= size
                one = offers.candidate(place)
                chosen.append(Decision(one.snapshot, size, explain(one, rank, len(queue), now), disk))
                continue
        if size > largest:
            reason = next(reason for most, reason in never if size > most)
        elif size > left:
            reason = _left_by_needier(left)
        else:
            reason = _room_left(max(rooms.values(), default=0))
        passed.append(place)
        reasons.append(reason)
    others = Decisions([offers.names[place] for place in passed], [sizes[place] for place in passed], reasons)
    return Allocation(budget, used, tuple(chosen), others)


def _distinct(healths: Iterable[SwarmHealth]) -> Iterable[SwarmHealth]:
    """Return the healths distinct by identity: nearly all entries of a large index share one."""
    return {id(one): one for one in healths}.values()


def explain(candidate: Candidate, rank: int, of: int, now: datetime) -> str:
    """Return in words why a candidate has its place."""
    words = [
        f"{danger_of(candidate.health, now)}: {describe(candidate.snapshot, candidate.health, now)}",
        f"place {rank} of {of}",
    ]
    return ", ".join(["preferred"] * candidate.preferred + words)


def describe(snapshot: SnapshotId, health: SwarmHealth, now: datetime) -> str:
    """Return in words what is known of a snapshot's swarm and origin; estimates are marked as such."""
    copies = health.copies(now)
    if copies is None:
        seen = "no check for copies yet"
    else:
        guessed = health.estimated or health.seeds is None or abs(copies - (health.seeds or 0)) >= 0.5
        number = round(copies, 1) if guessed and copies < 10 else round(copies)
        seen = f"{'about ' if guessed else ''}{number:g} {'copy' if number == 1 else 'copies'} seen"
    return f"{seen}, {snapshot.repo.kind.origin.label} {health.upstream}"


def _snapshot(name: str) -> SnapshotId:
    repo, _, commit = name.partition("@")
    return SnapshotId(_repo(repo), CommitId.parse(commit))


_repo = lru_cache(maxsize=4096)(RepoId.parse)


def _best_fit(rooms: dict[str, int], size: int) -> str | None:
    """Return the fullest disk that still takes it, so that other disks keep room for large snapshots."""
    fitting = [(room, name) for name, room in rooms.items() if size <= room]
    return min(fitting)[1] if fitting else None


@lru_cache(maxsize=256)
def _left_by_needier(left: int) -> str:
    return f"{format_size(left)} of the budget left by needier ones"


@lru_cache(maxsize=256)
def _room_left(most: int) -> str:
    return f"needier ones take the room: {format_size(most)} left at most, after reserves"
