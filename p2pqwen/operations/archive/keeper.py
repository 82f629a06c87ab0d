"""The archive that keeps itself: within a budget, a running node adopts what is needed most, and needs nobody for it.

It plans by a schedule, and anew wherever a swarm's health, an index or the room changes what it knows. What a plan
chooses is fetched a few at a time, and planned anew after each: so the neediest of the moment comes next, and two
rounds never take more together than the budget. What a person removes is not adopted again.

Where the budget is full, and `rebalance` is on, what the node itself adopted, and others keep well, is given up for
what is endangered, by the rules of `stewardship.rebalance`. What a person fetched is never given up here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError, Interruption, P2pqwenError
from p2pqwen.events import Happened, Report
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.own_files import Left
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.operations.archive.adopt import Wishes
from p2pqwen.operations.archive.listed import counts
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.archive.rebalance import carry_out, plan_rebalance
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.node.job_answer import JobState
from p2pqwen.operations.node.jobs import FetchJob
from p2pqwen.stewardship.allocation import Decision
from p2pqwen.stewardship.danger import Danger, danger_of
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, health_of
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId

TICK = 1.0  # seconds between looks at fetches that run
LOOK_EVERY = 5.0  # seconds between looks at what is known, and more where that takes long:
LOOK_SHARE = 50  # at most a fiftieth of the time
ROOM_STEPS = 20  # a plan is made anew where the room of a disk changes by such a part of the budget
AT_ONCE = 2  # fetches; more only share the same line
AGAIN = timedelta(hours=1)  # before what could not be fetched is tried again, unless its health changes
STOP_SECONDS = 5.0


class KeptNode(Protocol):
    """What the keeper asks of the node it works in; from its own thread."""

    def submit(self, snapshot: SnapshotId) -> FetchJob:
        """Have a snapshot fetched."""

    def jobs(self, snapshot: SnapshotId) -> Sequence[FetchJob]:
        """Return the fetches of a snapshot, those that have ended lately included."""

    def stop(self, job: FetchJob) -> None:
        """End a fetch for good; what came stays."""

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        """Delete a snapshot, and return what else was in its folder and stays; raises `P2pqwenError`."""

    def look(self, snapshots: Collection[SnapshotId]) -> None:
        """Look at these swarms now."""

    def room(self) -> int:
        """Return the bytes that may be written."""

    def pinned(self) -> Collection[SnapshotId]:
        """Return the snapshots that a person wants kept."""

    def held_back(self) -> str:
        """Return why nothing may be transferred now, and nothing where it may."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """`budget`: bytes of all that the home may hold. `every`: between plans where nothing changes."""

    budget: int
    every: timedelta
    wishes: Wishes = field(default_factory=Wishes)
    rebalance: bool = True


class _StoppedError(Interruption, P2pqwenError):
    """The node stops in the middle of an exchange; what was fetched goes on with the next node."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a snapshot could not be fetched, and when that was."""

    when: datetime
    error: P2pqwenError


@dataclass(slots=True)
class ArchiveKeeper:
    """The keeper of one node; a context manager that runs while the node does.

    `outlook` says what is known at this moment; `survey` asks swarms that are due, before a plan of the schedule.
    """

    options: KeeperOptions
    node: KeptNode
    memory: StewardStore
    outlook: Callable[[], Outlook]
    survey: Callable[[], object]
    clock: Callable[[], datetime]
    report: Report
    tick: float = TICK
    _known: _Knowledge | None = None
    _active: dict[SnapshotId, FetchJob] = field(default_factory=dict)
    _failed: dict[SnapshotId, _Failure] = field(default_factory=dict)
    _told: object = None
    _next_look: float = 0.0
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("archive", self._run, report=self.report)

    def __enter__(self) -> Self:
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.stop(STOP_SECONDS)

    @property
    def busy(self) -> bool:
        """Whether it was stopped in the middle of something that has not come back yet."""
        return self._background.busy

    def wake(self) -> None:
        """Look at once: the machine has slept, or the network is another one."""
        self._next_look = 0.0
        self._background.wake()

    def _run(self) -> None:
        self.memory.set_budget(self.options.budget)
        begun = ((one, job) for one in self.memory.adopted() for job in self.node.jobs(one))
        self._active |= {one: job for one, job in begun if not job.state.ended}  # by a node before this one
        with suppress(_StoppedError):
            while not self._background.is_stopping():
                each(["archive"], lambda _: self._turn(), failed=warn(self.report, str))
                self._background.wait(self.tick)

    def _turn(self) -> None:
        settled = self._settle()
        if reason := self.node.held_back():
            self._tell("archive waits", reason=reason)
            return
        planned = self.memory.planned()
        due = planned is None or self.clock() >= planned + self.options.every
        if due:
            self.survey()
        elif not settled and time.monotonic() < self._next_look:
            return
        began = time.monotonic()
        outlook = self.outlook()
        self._follow_people(outlook)
        if self._learn(outlook) or due or settled:
            self._act(outlook)
        if due:
            self.memory.set_planned(self.clock())
        self._next_look = time.monotonic() + max(LOOK_EVERY, LOOK_SHARE * (time.monotonic() - began))

    def _follow_people(self, outlook: Outlook) -> None:
        """Take nothing again that a person removed, until they fetch it: then it is theirs."""
        here = {one.id for one in outlook.listed.here} | outlook.away.keys()
        adopted, declined = self.memory.adopted(), self.memory.declined()
        lost = adopted - here - self._active.keys()
        arrived = self.memory.arrived()
        if lost:
            self.memory.change_adopted(without=lost)
        gone = lost & arrived  # the rest was begun by a node that was killed, and is planned again
        if (seen := (adopted & here) | (arrived & adopted) - lost) != arrived:
            self.memory.set_arrived(seen)
        if gone - declined or declined & here:
            self.memory.set_declined((declined | gone) - here)

    def _learn(self, outlook: Outlook) -> bool:
        """Take in what is known now; whether anything of it decides otherwise than before."""
        known, before = _Knowledge.of(outlook, self.options.budget, self._failed), self._known
        self._known = known
        if before is None or known == before:
            return before is None
        for snapshot, failure in list(self._failed.items()):
            no_disk = isinstance(failure.error, DiskError) and known.rooms != before.rooms
            claims = known.claims[snapshot]
            stands_otherwise = known.swarms.get(snapshot) != before.swarms.get(snapshot)
            if no_disk or stands_otherwise or before.claims.get(snapshot, claims) != claims:
                del self._failed[snapshot]
        return True

    def _settle(self) -> bool:
        """Book the fetches that came to an end, well or badly; whether any did since the last time."""
        active, now = dict(self._active), self.clock()
        for snapshot, job in active.items():
            failed = job.error if job.state in {JobState.WAITING, JobState.FAILED} else None
            if failed is not None:
                self.node.stop(job)  # others may be had meanwhile, and it comes back into the plan later
                self._fail(snapshot, failed)
            if failed is not None or job.state.ended:
                del self._active[snapshot]
            if job.state is JobState.DONE:
                self._told = None
                self.report(Happened("adopted", _named(snapshot)))
        again = [one for one, failure in self._failed.items() if now >= failure.when + AGAIN]
        for snapshot in again:
            del self._failed[snapshot]
        return len(self._active) < len(active) or bool(again)

    def _fail(self, snapshot: SnapshotId, error: P2pqwenError) -> None:
        self._failed[snapshot] = _Failure(self.clock(), error)
        self.memory.change_adopted(without={snapshot})
        self._told = None
        self.report(Happened("adopt failed", {**_named(snapshot), "reason": error.message}))

    def _act(self, outlook: Outlook) -> None:
        rest = self._without_active(outlook)
        plan = rest.plan(self.options.wishes, self.options.budget)
        for one in plan.chosen[: max(0, AT_ONCE - len(self._active))]:
            self._adopt(one)
        if self._active or (self.options.rebalance and self._exchange(rest)):
            return
        words = next((one.reason for one in plan.allocation.others), "everything that is listed is held")
        self._tell("archive rests", held=len(outlook.held), bytes=outlook.used, reason=words)

    def _without_active(self, outlook: Outlook) -> Outlook:
        """Return the outlook without what is on its way, which has its part of the budget, and what has failed."""
        held = {one.held.id for one in outlook.held}
        coming = {snapshot: outlook.size(snapshot) for snapshot in self._active if snapshot not in held}
        passed_over = coming.keys() | self._failed.keys() | self.memory.declined()
        return replace(outlook, passed_over=passed_over, away={**outlook.away, **coming})

    def _adopt(self, one: Decision) -> None:
        self.own(one.snapshot)
        self._active[one.snapshot] = self.node.submit(one.snapshot)
        self._told = None
        self.report(Happened("adopting", {**_named(one.snapshot), "size": one.size, "reason": one.reason}))

    def _exchange(self, outlook: Outlook) -> bool:
        """Give something up for what is endangered, where the rules have it; whether there was anything to do."""
        plan = plan_rebalance(outlook, self.options.wishes, self.options.budget, self._kept(outlook))
        if not plan.exchanges:
            return False
        for one in carry_out(
            plan.exchanges[:1],
            _Executor(self),
            node=outlook.node,
            pinned=lambda: self._kept(self.outlook()),
            clock=self.clock,
            report=self.report,
        ):
            self.memory.change_adopted(without=one.given)
            if one.taken:
                self.report(Happened("adopted", _named(one.plan.take.snapshot)))
            for gone in one.given:
                self.report(Happened("given up", {**_named(gone), "for": str(one.plan.take.snapshot)}))
            if one.error is not None:
                self._fail(one.plan.take.snapshot, one.error)
        return True

    def _kept(self, outlook: Outlook) -> frozenset[SnapshotId]:
        """Return what is not given up: what a person pinned, or fetched."""
        adopted = self.memory.adopted()
        of_people = {one.held.id for one in outlook.held if one.held.id not in adopted}
        return frozenset(self.node.pinned()) | of_people

    def own(self, snapshot: SnapshotId) -> None:
        """Write down that the node takes a snapshot by itself.

        Called before its fetch begins: a node that is killed knows it as its own, and a person who asks for it decides.
        """
        self.memory.change_adopted({snapshot})

    def bring(self, snapshot: SnapshotId) -> None:
        """Fetch a snapshot and wait for it; raises `P2pqwenError`, and `_StoppedError` where the node stops."""
        job = self.node.submit(snapshot)
        while not job.state.ended:
            if self._background.wait(self.tick):
                raise _StoppedError("the node stops")
            if job.state is JobState.WAITING and job.error is not None:
                self.node.stop(job)
                raise job.error
        if job.state is not JobState.DONE:
            raise job.error or P2pqwenError(f"the fetch of {snapshot} was stopped")

    def _tell(self, event: str, **facts: str | float | bool | None) -> None:
        """Say something once, until it is another thing."""
        if self._told != (event, facts):
            self._told = (event, facts)
            self.report(Happened(event, facts))


@dataclass(frozen=True, slots=True)
class _Executor:
    """Carries an exchange out in this node."""

    keeper: ArchiveKeeper

    def look(self, snapshots: Collection[SnapshotId]) -> Outlook:
        self.keeper.node.look(snapshots)
        return self.keeper.outlook()

    def bring(self, snapshot: SnapshotId) -> None:
        self.keeper.own(snapshot)
        self.keeper.bring(snapshot)

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        return self.keeper.node.remove(snapshot)

    def room(self) -> int:
        return self.keeper.node.room()


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What a plan rests on, as coarsely as it decides: which indexes, what is known of each swarm, and steps of room.

    No index is read for it. `claims` are what publishers say of snapshots whose fetches failed.
    """

    indexes: tuple[Sha256, ...]
    swarms: Mapping[SnapshotId, tuple[object, ...]]
    rooms: tuple[tuple[str, int], ...]
    claims: Mapping[SnapshotId, list[tuple[Upstream, Sha256]]] = field(compare=False)

    @classmethod
    def of(cls, outlook: Outlook, budget: int, failed: Collection[SnapshotId]) -> _Knowledge:
        """Return what is known at this moment."""
        held, step = {one.id for one in outlook.listed.here if counts(one)}, max(1, budget // ROOM_STEPS)
        named = set[SnapshotId]().union(outlook.records, outlook.upstream, outlook.said, held, outlook.away)
        return cls(
            outlook.listed.indexes,
            {
                snapshot: (
                    _standing(outlook, snapshot),
                    outlook.said.get(snapshot, ()),
                    snapshot in held,
                    snapshot in outlook.away,
                )
                for snapshot in named
            },
            tuple((disk.name, min(disk.room, budget) // step) for disk in outlook.disks),
            {one: [(said.upstream, said.infohash.v2) for said in outlook.listed.find(one)] for one in failed},
        )


def _standing(outlook: Outlook, snapshot: SnapshotId) -> list[tuple[Danger, bool | None]]:
    """Return how a swarm stands; where only its index says what its origin does, for all that it may say."""
    states = [outlook.upstream[snapshot]] if snapshot in outlook.upstream else Upstream
    record = outlook.records.get(snapshot, NEVER_SEEN)
    found = (health_of(record, state, outlook.now) for state in states)
    return [(danger_of(one, outlook.now), one.obtainable()) for one in found]


def _named(snapshot: SnapshotId) -> dict[str, str | int | float | bool | None]:
    return {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}
