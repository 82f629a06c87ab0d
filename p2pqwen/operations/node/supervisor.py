"""Supervise a node while it seeds: the user's choices, limits, fetches, scrubbing, repair, counters.

The node's own thread owns the libtorrent session. It calls `tick` several times a second; calls from other threads (the
control API) wait for it in a queue.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar

from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError, NetworkError, P2pqwenError
from p2pqwen.events import Happened, Notice, Report
from p2pqwen.library.idle import ReadThrottle
from p2pqwen.library.own_files import Left
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.operations.background import STOP_SECONDS, BackgroundThread
from p2pqwen.operations.engine import Clock
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import JobAnswer, JobState
from p2pqwen.operations.node.jobs import FetchJob, FetchJobs
from p2pqwen.operations.node.limits import NO_LIMITS, Allowance, allowance
from p2pqwen.operations.node.preferences import Choice, Choices, Transfer
from p2pqwen.operations.node.standing_watch import StandingWatch
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.operations.node.surroundings import Surroundings
from p2pqwen.operations.node.transfer_meter import gone_on
from p2pqwen.operations.verify.scrub import Scrubber, ScrubStoppedError
from p2pqwen.operations.verify.scrub_record import ScrubRecord
from p2pqwen.operations.verify.standings import Stood
from p2pqwen.swarm.reach import Reach
from p2pqwen.values.derived import Derived
from p2pqwen.values.snapshot_id import SnapshotId

CHOICES_EVERY = 1.0
DISKS_EVERY = 1.0
SURROUNDINGS_EVERY = 5.0
COUNT_EVERY = 10.0
MEND_EVERY = 1.0  # between looks for damage that another program found; more with thousands of snapshots
SCRUB_LOOK_EVERY = 300.0
_CALL_SECONDS = 30.0
_FEW = 1000  # snapshots whose counters can be read every second
_JOB_STATES = {JobState.QUEUED: "queued", JobState.WAITING: "waiting", JobState.PAUSED: "paused"}

Answer = TypeVar("Answer")


class SeedingNode(Protocol):
    """What the supervisor may ask of the node, on the node's thread."""

    def set_rates(self, *, upload: int, download: int) -> None:
        """Hold the node to these rates, 0 for no limit."""

    def hold(self, snapshot: SnapshotId, *, paused: bool, upload_slots: int) -> None:
        """Pause this snapshot, or serve it to at most `upload_slots` peers at once (-1: no limit of its own)."""

    def hold_all(self, *, paused: bool) -> None:
        """Pause everything, or serve all that is not paused otherwise."""

    def read_again(self, snapshot: SnapshotId) -> None:
        """Distrust this snapshot's pieces and read them again."""

    def let_go(self, snapshot: SnapshotId) -> None:
        """Take a snapshot out of the session; it comes back when the library shows it."""

    def library_changed(self) -> None:
        """Look at the library in this turn."""

    def announce_again(self) -> None:
        """Announce everything served to trackers and the DHT again, a few at a time: the node's address has changed."""

    def wake(self) -> None:
        """Take the next turn, and call `tick`, at once; from any thread."""

    def rows(self) -> Sequence[SnapshotState]:
        """Return the state of every snapshot; the same object while nothing changes."""

    @property
    def uploaded_besides(self) -> int:
        """Payload bytes sent since the start that belong to no snapshot."""

    @property
    def loading(self) -> bool:
        """Whether snapshots that need no reading first still wait to be loaded."""

    @property
    def listening(self) -> str:
        """Where it accepts peers."""

    @property
    def reach(self) -> Reach:
        """What is known of how others reach it."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """The node's figures at one moment, for `status` and metrics."""

    rows: tuple[SnapshotState, ...] = ()
    allowance: Allowance = NO_LIMITS
    uploaded_this_month: int = 0
    month_quota: int = 0
    jobs: tuple[JobAnswer, ...] = ()
    started: float = 0.0
    reach: Reach = field(default_factory=Reach)
    rooms: Mapping[str, int | None] = field(default_factory=dict)  # by library folder; None: its disk is not connected


_NO_CHOICE, _NO_TRANSFER, _NO_SCRUB = Choice(), Transfer(), ScrubRecord()


@dataclass(slots=True)
class Supervisor:
    """The supervisor of one node. `base_upload` and `base_download` are the rates of the command line and config."""

    library: Library
    choices: Choices
    scrubber: Scrubber
    jobs: FetchJobs
    watch: StandingWatch
    report: Report
    base_upload: int = 0
    base_download: int = 0
    repair_request: Callable[[SnapshotId], FetchRequest] = lambda one: FetchRequest(str(one), kind="repair")
    now: Callable[[], datetime] = lambda: datetime.now().astimezone()
    clock: Clock = time
    surroundings: Surroundings | None = None
    on_change: list[Callable[[], object]] = field(default_factory=list)  # called when the machine or its room changed
    figures: NodeFigures = NodeFigures()
    _calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = field(default_factory=queue.SimpleQueue)
    _node: SeedingNode | None = None
    _timers: dict[str, float] = field(default_factory=dict)
    _sent: dict[SnapshotId, int] = field(default_factory=dict)
    _unbooked: dict[SnapshotId, Transfer] = field(default_factory=dict)
    _booked: Sequence[SnapshotState] = ()
    _sent_besides: int = 0
    _unbooked_besides: int = 0
    _held: dict[SnapshotId, Choice] = field(default_factory=dict)
    _choices: Mapping[str, Choice] = field(default_factory=dict)
    _allowed: Allowance = NO_LIMITS
    _transfers: Mapping[str, Transfer] = field(default_factory=dict)
    _scrubs: Mapping[str, ScrubRecord] = field(default_factory=dict)
    _shown: Derived[tuple[SnapshotState, Transfer | None], SnapshotState] = field(default_factory=Derived)
    _named: tuple[Sequence[SnapshotState], list[SnapshotId]] = ((), [])
    _mending: dict[str, datetime | None] = field(default_factory=dict)
    _missing: int = 0
    _ended: int = 0
    _scrubbing: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        if self.surroundings is None:
            self.surroundings = Surroundings(self.rooms)
        self._scrubbing = BackgroundThread("scrub", self._scrub, report=self.report)

    def start(self, node: SeedingNode) -> None:
        """Begin; on the node's thread."""
        self._node = node
        self.figures = replace(self.figures, started=self.now().timestamp())
        self._follow_choices()
        self._scrubbing.start()

    def tick(self) -> None:
        """Do what is due; on the node's thread."""
        self._answer_calls()
        if self._due("choices", CHOICES_EVERY):
            self._follow_choices()
        self.jobs.tick()
        if self._ended != (ended := self.jobs.ended):
            self._ended = ended
            self._live.library_changed()
        if self._due("count", COUNT_EVERY):
            self._count()
        if self._due("mend", max(MEND_EVERY, len(self._scrubs) / _FEW)):
            self._mend_damaged()
        if self._due("disks", DISKS_EVERY):
            self._follow_disks()
        if self._due("surroundings", SURROUNDINGS_EVERY):
            self._follow_surroundings()

    def _answer_calls(self) -> None:
        while True:
            try:
                call, answer = self._calls.get_nowait()
            except queue.Empty:
                return
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(call())
                except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                    answer.set_exception(error)

    def stop(self) -> None:
        """Stop everything and save, within `STOP_SECONDS`; on the node's thread. A second call does nothing."""
        if self._scrubbing.is_stopping():
            return
        self._scrubbing.tell()
        until = self.clock.monotonic() + STOP_SECONDS
        self.jobs.close(STOP_SECONDS)
        self._scrubbing.stop(until - self.clock.monotonic())
        self._count()
        while not self._calls.empty():
            _, answer = self._calls.get()
            answer.set_exception(_stopping())

    @property
    def busy(self) -> bool:
        """Whether a fetch or a scrub that was told to stop is still running."""
        fetches = (job.thread for job in self.jobs.all())
        return self._scrubbing.busy or any(thread is not None and thread.is_alive() for thread in fetches)

    def on_node(self, call: Callable[[], Answer]) -> Answer:
        """Run `call` on the node's thread and return its result; for use on other threads."""
        if self._scrubbing.is_stopping():
            raise _stopping()
        answer: Future[Answer] = Future()
        self._calls.put((call, answer))
        self._live.wake()
        try:
            return answer.result(_CALL_SECONDS)
        except TimeoutError as error:
            answer.cancel()
            raise NetworkError("the node is busy and did not answer") from error

    def choices_changed(self) -> None:
        """Act on changed choices at once instead of within a second."""
        self.on_node(self._follow_choices)

    def remove(self, held: HeldSnapshot) -> tuple[Left, ...]:
        """Delete a snapshot that this node may be serving or fetching; return what else was in its folder and stays."""
        for job in self.jobs.of(held.id):
            self.jobs.stop(job)
            self.jobs.wait_for(job, STOP_SECONDS)
        self.on_node(lambda: self._live.let_go(held.id))
        left = self.library.remove(held)
        self.choices.forget(held.id)
        self.scrubber.forget(held.id)
        return left

    def submit(self, request: FetchRequest) -> FetchJob:
        """Add a fetch, which begins at once if it may; raises `UsageError`, `DiskError`."""
        job = self.jobs.submit(request)
        self._live.wake()
        return job

    def count_now(self) -> None:
        """Record what has been transferred so far; for use on other threads."""
        self.on_node(self._count)

    def scrub_soon(self) -> None:
        """Look for due snapshots now."""
        self._scrubbing.wake()

    @property
    def listening(self) -> str:
        """Where the node accepts peers."""
        return self._live.listening

    @property
    def reach(self) -> Reach:
        """What is known of how others reach the node."""
        return self._live.reach

    @property
    def loading(self) -> bool:
        """Whether snapshots that need no reading first still wait to be loaded; from any thread."""
        return self._node is None or self._node.loading

    def look(self) -> tuple[SnapshotState, ...]:
        """Return the state of every snapshot, the same object while nothing changes; on the node's thread."""
        return self.shown(self._live.rows())

    def look_now(self) -> tuple[tuple[SnapshotState, ...], Transfer]:
        """Return the state of every snapshot, and this month's transfers so far; for use on other threads."""
        return self.on_node(lambda: (self.look(), self._this_month()))

    def figures_now(self) -> NodeFigures:
        """Return the current figures; for use on other threads."""
        self.on_node(self.look)
        return replace(self.figures, reach=self.reach, rooms=self.rooms())

    def rooms(self) -> dict[str, int | None]:
        """Return the bytes that each library folder may take; None for a disk that is away. Raises `DiskError`."""
        rooms: dict[str, int | None] = {str(one.root): one.room for one in self.library.folders}
        return rooms | {str(one.root): None for one in self.library.missing_folders}

    def failing(self) -> Mapping[str, str]:
        """Return the evidence for each library folder whose disk seems to be failing. Raises `DiskError`."""
        return self.scrubber.faults.all()

    def disk_failed(self, held: HeldSnapshot, error: DiskError) -> None:
        """Note a disk error that occurred while a snapshot was served; from any thread."""
        each(
            [held],
            lambda one: self.scrubber.faults.note(one.folder, error),
            failed=warn(self.report, lambda one: one.id),
        )

    def choice_of(self, snapshot: SnapshotId | None) -> Choice:
        """Return what the user chose, as last read; the default for a fetch that does not know its snapshot yet."""
        return _NO_CHOICE if snapshot is None else self._choices.get(str(snapshot), _NO_CHOICE)

    def shown(self, rows: Sequence[SnapshotState]) -> tuple[SnapshotState, ...]:
        """Return the node's rows with what the supervisor knows: fetches, pauses, ratios, the last scrub.

        Rows that have not changed, which is nearly all, are not built again.
        """
        self._book_transfers(rows)
        fetched = [job for job in self.jobs.all() if job.snapshot is not None and not job.state.ended]
        if fetched:
            by_id = {row.id: row for row in rows}
            by_id |= {job.snapshot: _job_row(job, job.snapshot) for job in fetched if job.snapshot is not None}
            rows = tuple(by_id.values())
        if self._named[0] is not rows:
            self._named = rows, [row.id for row in rows]
        stood, withdrawals = self.watch.of(self._named[1]), self.watch.withdrawals
        unbooked = self._unbooked
        found = self._shown.look(
            ((row, unbooked.get(row.id)) for row in rows) if unbooked else ((row, None) for row in rows),
            lambda told: self._decorated(*told, stood.get(told[0].id)),
            besides=(self._choices, self._transfers, self._scrubs, stood, withdrawals.said, withdrawals.held_back),
        )
        self.figures = replace(
            self.figures,
            rows=found,
            jobs=tuple(job.answer for job in self.jobs.all()),
            allowance=self._allowed,
        )
        return found

    @property
    def _live(self) -> SeedingNode:
        if self._node is None:
            raise RuntimeError("the supervisor was not started")
        return self._node

    def _due(self, name: str, seconds: float) -> bool:
        now = self.clock.monotonic()
        if now < self._timers.get(name, 0.0):
            return False
        self._timers[name] = now + seconds
        return True

    def _follow_choices(self) -> None:
        self._choices = self.choices.all()
        limits = self.choices.limits().stricter(self.base_upload, self.base_download)
        now = self.now()
        if limits.monthly_upload and (len(self._sent) <= _FEW or self._due("look", len(self._sent) / _FEW)):
            self._look_at_transfers()
        month = self._this_month().uploaded
        self.figures = replace(self.figures, uploaded_this_month=month, month_quota=limits.monthly_upload)
        allowed = allowance(limits, now=now, uploaded_this_month=month)
        if allowed != self._allowed or not self._timers.get("applied"):
            self._timers["applied"] = 1.0
            self._apply(allowed)
        wanted = {SnapshotId.parse(name): choice for name, choice in self._choices.items()}
        held_back = self.watch.withdrawals.held_back
        chosen = {one: wanted.get(one, Choice()) for one in wanted.keys() | self._held.keys() | held_back}
        chosen |= {one: replace(chosen[one], paused=True) for one in held_back}
        changed = [(snapshot, choice) for snapshot, choice in chosen.items() if choice != self._held.get(snapshot)]
        each(changed, lambda one: self._hold(*one), failed=warn(self.report, lambda one: one[0]))

    def _hold(self, snapshot: SnapshotId, choice: Choice) -> None:
        self._live.hold(snapshot, paused=choice.paused, upload_slots=choice.priority.upload_slots)
        self._held[snapshot] = choice

    def _apply(self, allowed: Allowance) -> None:
        rates_changed = (allowed.upload_of_fetches, allowed.download) != (
            self._allowed.upload_of_fetches,
            self._allowed.download,
        )
        if allowed.reason != self._allowed.reason:
            self._count()  # so that all who ask are told the same
            self.report(Happened("limits", {"may_upload": allowed.may_upload, "reason": allowed.reason or None}))
        self._allowed = allowed
        self._live.set_rates(upload=allowed.upload, download=allowed.download)
        self._live.hold_all(paused=not allowed.may_upload)
        self.jobs.hold_back("" if allowed.may_transfer else allowed.reason)
        if rates_changed:
            self.jobs.restart_running()

    @property
    def allowed(self) -> Allowance:
        """What may be transferred, as last decided."""
        return self._allowed

    def _book_upload(self, row: SnapshotState) -> None:
        more = gone_on(row.uploaded, self._sent.get(row.id, 0))
        self._sent[row.id] = row.uploaded
        if more:
            self._book(row.id, more)

    def _book(self, snapshot: SnapshotId, up: int, down: int = 0) -> None:
        self._unbooked[snapshot] = self._unbooked.get(snapshot, Transfer()).plus(up, down)

    def _look_at_transfers(self) -> None:
        """Book what seeds and fetches have transferred so far."""
        self._book_transfers(self._live.rows())

    def _book_transfers(self, rows: Sequence[SnapshotState]) -> None:
        for row, booked in zip(rows, chain(self._booked, repeat(None)), strict=False):
            if row is not booked:
                self._book_upload(row)
        self._booked = rows
        for one, more in self.jobs.take_counts().items():
            self._book(one, more.uploaded, more.downloaded)
        before, self._sent_besides = self._sent_besides, self._live.uploaded_besides
        self._unbooked_besides += self._sent_besides - before

    def _this_month(self) -> Transfer:
        """Return this month's transfers, as far as they are booked; raises `DiskError`."""
        moved = self._unbooked.values()
        more = sum(one.uploaded for one in moved) + self._unbooked_besides, sum(one.downloaded for one in moved)
        return self.choices.month(self.now()).plus(*more)

    def _count(self) -> None:
        self._look_at_transfers()
        moved, self._unbooked = self._unbooked, {}
        besides, self._unbooked_besides = self._unbooked_besides, 0
        try:
            self.choices.count(moved, self.now(), besides=besides)
            self._transfers = self.choices.transfers()
        except DiskError as error:
            self.report(Notice("warning", error.message))

    def _decorated(self, row: SnapshotState, unbooked: Transfer | None, stood: Stood | None) -> SnapshotState:
        """Return a row with all else that is known of its snapshot."""
        name, withdrawals = str(row.id), self.watch.withdrawals
        shown = row.with_memory(
            self._choices.get(name, _NO_CHOICE),
            self._transfers.get(name, _NO_TRANSFER),
            self._scrubs.get(name, _NO_SCRUB),
            unbooked=0 if unbooked is None else unbooked.uploaded,
        )
        seeded = row.id not in withdrawals.held_back
        return shown.with_withdrawals(withdrawals.of(row.id), seeded=seeded).with_standing(stood)

    def _scrub(self) -> None:
        """Scrub what is due for as long as the node runs; on its own thread."""
        while not self._scrubbing.is_stopping():
            try:
                each(self.scrubber.due(), self._scrub_one, failed=warn(self.report, lambda held: f"scrub: {held.id}"))
            except ScrubStoppedError:
                return
            except P2pqwenError as error:
                self.report(Notice("warning", f"scrub: {error.message}"))
            self._scrubbing.wait(SCRUB_LOOK_EVERY)

    def _scrub_one(self, held: HeldSnapshot) -> None:
        if self._scrubbing.is_stopping():
            raise ScrubStoppedError
        if self.jobs.of(held.id):
            return
        found = self.scrubber.scrub(
            held, throttle=ReadThrottle(self.scrubber.rate()), stopping=self._scrubbing.is_stopping
        )
        if found.damage:
            self.on_node(self._mend_damaged)

    def mended(self, snapshot: SnapshotId) -> None:
        """Note that a repair has succeeded; from any thread."""
        self.scrubber.mended(snapshot)
        self.report(Happened("mended", {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}))

    def _mend_damaged(self) -> None:
        """Distrust and repair what a scrub, this node's or another program's, found damaged."""
        try:
            self._scrubs = self.scrubber.records()
        except DiskError as error:
            self.report(Notice("warning", error.message))
            return
        damaged = {name: one.finished for name, one in self._scrubs.items() if one.damage and not one.read}
        fresh = {name for name, finished in damaged.items() if self._mending.get(name) != finished}
        self._mending = damaged
        rotten = [held for held in self.library.all() if str(held.id) in fresh] if fresh else []
        each(rotten, self._mend, failed=warn(self.report, lambda held: held.id))

    def _mend(self, held: HeldSnapshot) -> None:
        self._live.read_again(held.id)
        self.jobs.submit(self.repair_request(held.id))

    def _follow_surroundings(self) -> None:
        """React to what happens to the machine: it slept, its network changed, a disk has room again."""
        around = self.surroundings
        assert around is not None  # noqa: S101 - see `__post_init__`
        for change in chain.from_iterable(each([around], lambda one: list(one.look()), failed=warn(self.report, str))):
            if change.event is not None:
                self.report(change.event)
            if change.elsewhere:
                self._live.announce_again()
                self.jobs.try_again(NetworkError)
            if change.room:
                self.jobs.try_again(DiskError)
            if change.elsewhere or change.room:
                for tell in self.on_change:
                    tell()

    def _follow_disks(self) -> None:
        before, self._missing = self._missing, len(self.library.missing_folders)
        if self._missing < before or not self._missing:  # or one was gone for less than a look
            self.jobs.disk_is_back()


def _stopping() -> NetworkError:
    return NetworkError("the node is stopping", hint="start it again: it resumes where it stopped")


def _job_row(job: FetchJob, snapshot: SnapshotId) -> SnapshotState:
    shown = job.progress
    facts = {} if shown is None else shown.facts
    state = _JOB_STATES.get(job.state) or (
        "checking" if shown is not None and shown.stage == "check" else "downloading"
    )
    done, total = (0, None) if shown is None else (shown.done, shown.total)
    return SnapshotState(
        id=snapshot,
        state=state,
        progress=round(done / total, 6) if total else 0.0,
        peers=facts.get("peers", 0),
        seeds=facts.get("seeds", 0),
        download_rate=facts.get("download_rate", 0) if job.state is JobState.DOWNLOADING else 0,
        upload_rate=facts.get("upload_rate", 0) if job.state is JobState.DOWNLOADING else 0,
        uploaded=facts.get("uploaded", 0),
        size=total or 0,
    )
