"""The automatic archive: within a budget, a running node adopts what is needed most.

It plans on a schedule, and again whenever a swarm's health, an index or free space changes what it knows. It fetches a
few snapshots at a time and plans again after each, so the most needed one always comes next, and two rounds together
never exceed the budget. It does not adopt again what a person removes.

If the budget is full and `rebalance` is on, the node gives up snapshots that it adopted and that others keep well, in
exchange for endangered ones, by the rules of `stewardship.rebalance`. It never gives up what a person fetched.
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

TICK = 1.0  # seconds between looks at running fetches
LOOK_EVERY = 5.0  # seconds between looks at what is known, longer if a look is slow:
LOOK_SHARE = 50  # at most a fiftieth of the time
ROOM_STEPS = 20  # plan again when the room of a disk changes by this fraction of the budget
AT_ONCE = 2  # fetches; more would only share the same bandwidth
AGAIN = timedelta(hours=1)  # before a failed fetch is retried, unless the swarm's health changes
STOP_SECONDS = 5.0


class KeptNode(Protocol):
    """What the keeper needs of its node; called from the keeper's thread."""

    def submit(self, snapshot: SnapshotId) -> FetchJob:
        """Have a snapshot fetched."""

    def jobs(self, snapshot: SnapshotId) -> Sequence[FetchJob]:
        """Return the fetches of a snapshot, including those that ended recently."""

    def stop(self, job: FetchJob) -> None:
        """End a fetch for good; what it has downloaded stays."""

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        """Delete a snapshot and return what remains in its folder; raises `P2pqwenError`."""

    def look(self, snapshots: Collection[SnapshotId]) -> None:
        """Examine these swarms now."""

    def room(self) -> int:
        """Return the bytes that may be written."""

    def pinned(self) -> Collection[SnapshotId]:
        """Return the snapshots that a person wants kept."""

    def held_back(self) -> str:
        """Return why nothing may be transferred now, "" if transfers are allowed."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """`budget`: bytes of all that the home may hold. `every`: between plans if nothing changes."""

    budget: int
    every: timedelta
    wishes: Wishes = field(default_factory=Wishes)
    rebalance: bool = True


class _StoppedError(Interruption, P2pqwenError):
    """The node stops during an exchange; the next node continues the fetch."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a snapshot could not be fetched, and when that was."""

    when: datetime
    error: P2pqwenError


@dataclass(slots=True)
class ArchiveKeeper:
    """The keeper of one node; a context manager that runs while the node does.

    `outlook` returns what is known now; `survey` asks the swarms that are due, before each scheduled plan.
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
        """Whether it was stopped during a call that has not returned yet."""
        return self._background.busy

    def wake(self) -> None:
        """Look at once, because the machine has slept or the network has changed."""
        self._next_look = 0.0
        self._background.wake()

    def _run(self) -> None:
        self.memory.set_budget(self.options.budget)
        begun = ((one, job) for one in self.memory.adopted() for job in self.node.jobs(one))
        self._active |= {one: job for one, job in begun if not job.state.ended}  # begun by an earlier node
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
        """Do not adopt again what a person removed; if they fetch it, it is theirs."""
        here = {one.id for one in outlook.listed.here} | outlook.away.keys()
        adopted, declined = self.memory.adopted(), self.memory.declined()
        lost = adopted - here - self._active.keys()
        arrived = self.memory.arrived()
        if lost:
            self.memory.change_adopted(without=lost)
        gone = lost & arrived  # the rest was begun by a node that was killed; it is planned again
        if (seen := (adopted & here) | (arrived & adopted) - lost) != arrived:
            self.memory.set_arrived(seen)
        if gone - declined or declined & here:
            self.memory.set_declined((declined | gone) - here)

    def _learn(self, outlook: Outlook) -> bool:
        """Take in what is known now; tell whether any of it may change the plan."""
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
        """Record the fetches that have ended, successfully or not; tell whether there were any."""
        active, now = dict(self._active), self.clock()
        for snapshot, job in active.items():
            failed = job.error if job.state in {JobState.WAITING, JobState.FAILED} else None
            if failed is not None:
                self.node.stop(job)  # others can be fetched meanwhile; the plan includes it again later
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
        """Return the outlook without failed fetches and without running ones, whose bytes count against the budget."""
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
        """Carry out one exchange, if the rules allow it; tell whether there was one."""
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
        """Return what is never given up: what a person pinned or fetched."""
        adopted = self.memory.adopted()
        of_people = {one.held.id for one in outlook.held if one.held.id not in adopted}
        return frozenset(self.node.pinned()) | of_people

    def own(self, snapshot: SnapshotId) -> None:
        """Record that the node adopts a snapshot.

        Called before its fetch starts, so that a node that is killed still knows it as adopted, and a person's own
        fetch of it overrides this.
        """
        self.memory.change_adopted({snapshot})

    def bring(self, snapshot: SnapshotId) -> None:
        """Fetch a snapshot and wait for it; raises `P2pqwenError`, and `_StoppedError` if the node stops."""
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
        """Report an event, unless it is the same as the last one."""
        if self._told != (event, facts):
            self._told = (event, facts)
            self.report(Happened(event, facts))


@dataclass(frozen=True, slots=True)
class _Executor:
    """Carries out an exchange in this node."""

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
    """What a plan depends on, only as finely as plans need: the indexes, each swarm's state, and free space in steps.

    Building it reads no index. `claims` are what publishers say of snapshots whose fetches failed.
    """

    indexes: tuple[Sha256, ...]
    swarms: Mapping[SnapshotId, tuple[object, ...]]
    rooms: tuple[tuple[str, int], ...]
    claims: Mapping[SnapshotId, list[tuple[Upstream, Sha256]]] = field(compare=False)

    @classmethod
    def of(cls, outlook: Outlook, budget: int, failed: Collection[SnapshotId]) -> _Knowledge:
        """Return what is known now."""
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
    """Return a swarm's state; if only an index knows its state upstream, one for every state that it may name."""
    states = [outlook.upstream[snapshot]] if snapshot in outlook.upstream else Upstream
    record = outlook.records.get(snapshot, NEVER_SEEN)
    found = (health_of(record, state, outlook.now) for state in states)
    return [(danger_of(one, outlook.now), one.obtainable()) for one in found]


def _named(snapshot: SnapshotId) -> dict[str, str | int | float | bool | None]:
    return {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}
