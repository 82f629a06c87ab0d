"""The node's watch on the Hub: it regularly preserves what is new and asks which held snapshots are still shown.

It runs on its own thread at the lowest priority, within the user's hours and download limit, and does what `preserve
--watchlist` does. The result of a round is remembered. A round that was cut off starts again with the node and finds
what it had finished. Until then it is shown as interrupted, with the time. The record alone cannot say whether a round
is still running, since a node that was killed writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from p2pqwen.errors import FormatError, Interruption, P2pqwenError
from p2pqwen.events import Event, Happened, Notice, Progress, Report
from p2pqwen.library.idle import ReadThrottle
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.archive.bulk_preserve import BulkContext, BulkOptions, BulkResult, bulk_preserve
from p2pqwen.operations.archive.bulk_survey import Wanted
from p2pqwen.operations.archive.upstream import check_upstream
from p2pqwen.operations.archive.watch_record import (
    Failure,
    RoundDone,
    RoundFailed,
    RoundProgress,
    WatchRecord,
    keep_round,
    last_round,
)
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.stewardship.bulk_plan import Action
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.utc_time import format_time, parse_time

LOOK_EVERY = 5.0  # seconds between looks at what is due
HELD_EVERY = 0.5  # the same while held back: checking the user's hours costs nothing
SETTLE = timedelta(minutes=5)  # a node that has just started serves its snapshots and asks no origin about them yet
ASK_AGAIN = timedelta(hours=1)  # after the Hub did not answer
TELL_EVERY = 5.0  # seconds between notes of how far a round is
SHOWN_FAILURES = 50
STOP_SECONDS = 2.0  # for downloads to end: the next bytes that arrive end one; a hanging one is abandoned


class CutOffError(Interruption, P2pqwenError):
    """The node stops, or the user's hours are over; the round continues later."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often to preserve (None: there is nothing to preserve), and how often to ask (None: never)."""

    every: timedelta | None
    upstream_every: timedelta | None


@dataclass(slots=True)
class HubWatch:
    """The watch of one node; a context manager that runs while the node does.

    `wanted` names what to preserve and may raise; `tracked` names what to ask about. `held_back` returns why nothing
    may be transferred now, "" if transfers are allowed.
    """

    schedule: Schedule
    options: BulkOptions
    places: BulkContext
    store: StateStore
    wanted: Callable[[], Wanted]
    tracked: Callable[[], Iterable[SnapshotId]]
    report: Report
    held_back: Callable[[], str] = lambda: ""
    _told: float = 0.0
    _cut_off: bool = False
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("hub watch", self._run, report=self.report)

    def __enter__(self) -> Self:
        self._interrupted()  # what an earlier node left unfinished, perhaps because it was killed
        if self.schedule != Schedule(None, None):
            self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.stop(STOP_SECONDS)

    def keep_on(self) -> None:
        """Raise `CutOffError` if the round must end now; downloads call it as bytes arrive."""
        if self._background.is_stopping():
            raise CutOffError("the node stops")
        if reason := self.held_back():
            raise CutOffError(reason)

    @property
    def busy(self) -> bool:
        """Whether it was stopped during a read that has not returned yet."""
        return self._background.busy or self._cut_off

    def _wait(self, seconds: float) -> None:
        self._background.wait(seconds)

    def _run(self) -> None:
        settled = self.places.clock() + min(SETTLE, self.schedule.upstream_every or SETTLE)
        while not self._background.is_stopping():
            try:
                now = self.places.clock()
                if not self.held_back():
                    self._preserve_if_due(now)
                    if now >= settled:
                        self._ask_if_due(now)
            except CutOffError as error:
                self._cut_off = True  # its downloads may still be waiting for the Hub
                self._interrupted()
                self.report(Happened("watch cut off", {"reason": error.message}))
            except P2pqwenError as error:  # our own disk: the round could not be recorded
                self.report(Notice("warning", f"watch: {error.message}"))
            self._background.wait(self._pause())

    def _pause(self) -> float:
        """Return the seconds until something may be due."""
        if self.held_back():
            return HELD_EVERY
        asking = LOOK_EVERY if self.schedule.upstream_every is None else self.schedule.upstream_every.total_seconds()
        every = self.schedule.every
        due = None if every is None else last_round(self.store).due(every)
        preserving = LOOK_EVERY if due is None else (due - self.places.clock()).total_seconds()
        return max(0.2, min(LOOK_EVERY, asking, preserving))

    def _preserve_if_due(self, now: datetime) -> None:
        every = self.schedule.every
        before = last_round(self.store)
        if every is None or ((due := before.due(every)) is not None and now < due):
            return
        self._remember(WatchRecord(now, None, before.failed_rounds))
        self.report(Happened("watch started", {}))
        try:
            places = replace(self.places, sleep=self._wait)
            result = bulk_preserve(self.wanted(), self.options, places, self._follow(now, before.failed_rounds))
        except CutOffError:
            raise
        except Exception as error:  # noqa: BLE001 - a failed round is retried; the node continues to seed
            message = error.message if isinstance(error, P2pqwenError) else f"{type(error).__name__}: {error}"
            ended = WatchRecord(now, self.places.clock(), before.failed_rounds + 1, RoundFailed(message))
            self._remember(ended)
            self.report(Happened("watch failed", {"error": message, "next": _next(ended, every)}))
            return
        self.keep_on()
        done = _done(result)
        ended = WatchRecord(now, self.places.clock(), 0, done)
        self._remember(ended)
        self.report(Happened("watch done", {**done.counts, "bytes": done.bytes, "next": _next(ended, every)}))
        self._tell("gone", result.vanished)

    def _ask_if_due(self, now: datetime) -> None:
        """Ask about every snapshot whose last answer is old."""
        every = self.schedule.upstream_every
        if every is None:
            return
        known = self.places.upstream.all()
        old = [one for one in self.tracked() if one not in known or now - known[one].looked >= every]
        if not old or self._asked_lately(now, every):
            return
        self.store.put("watch/upstream", {"asked": format_time(now)})
        done = check_upstream(
            old, self.places.origin, self.places.upstream, clock=self.places.clock, report=self._follow(now, 0)
        )
        self._tell("gone", done.vanished)
        self._tell("back", done.returned)

    def _asked_lately(self, now: datetime, every: timedelta) -> bool:
        """Tell whether the Hub was asked recently: if it does not answer, it must not be asked all the time."""
        value = self.store.get("watch/upstream")
        try:
            return value is not None and now - parse_time(value["asked"]) < min(every, ASK_AGAIN)
        except (KeyError, TypeError, FormatError):
            return False

    def _follow(self, started: datetime, failed_rounds: int) -> Report:
        """Return the reporter of a round: it records progress, and raises once the round must end."""

        def report(event: Event) -> None:
            self.keep_on()
            if not isinstance(event, Progress):
                self.report(event)
                return
            now = self.places.clock()
            if event.stage == "preserve" and now.timestamp() - self._told >= TELL_EVERY:
                self._told = now.timestamp()
                words = f"{event.detail}, {format_size(event.done)} of {format_size(event.total or 0)}"
                self._remember(WatchRecord(started, None, failed_rounds, RoundProgress(words)))

        return report

    def _remember(self, record: WatchRecord) -> None:
        noted = replace(record, noted=self.places.clock()) if record.is_unfinished else record
        keep_round(self.store, noted)

    def _interrupted(self) -> None:
        """Record that the last round was interrupted, if it has not ended."""
        try:
            record = last_round(self.store)
            if record.is_unfinished and record.interrupted is None:
                at = self.places.clock() if self._cut_off else record.noted or record.started
                keep_round(self.store, replace(record, interrupted=at))
        except P2pqwenError as error:
            self.report(Notice("warning", f"watch: {error.message}"))

    def _tell(self, event: str, snapshots: Iterable[SnapshotId]) -> None:
        for one in snapshots:
            self.report(Happened(event, {"repo": str(one.repo), "commit": str(one.commit)}))


def throttle(watch: Callable[[], HubWatch], rate: Callable[[], int]) -> Callable[[int], None]:
    """Return a function that a download calls with its byte counts: it waits if they exceed `rate` (0: no limit)."""
    throttles: dict[int, ReadThrottle] = {}

    def took(count: int) -> None:
        watch().keep_on()
        wanted = rate()
        if wanted not in throttles:
            throttles.clear()
            throttles[wanted] = ReadThrottle(wanted)
        throttles[wanted].took(count)

    return took


def _next(record: WatchRecord, every: timedelta) -> str | None:
    due = record.due(every)
    return None if due is None else format_time(due)


def _done(result: BulkResult) -> RoundDone:
    """Return the record of a round."""
    failed = result.of(Action.FAILED)
    return RoundDone(
        len(result.done),
        len(result.of(Action.UNCHANGED)),
        len(result.of(Action.SKIPPED)),
        len(failed),
        result.size,
        tuple(Failure(row.survey.wanted.repo, row.reason) for row in failed[:SHOWN_FAILURES]),
    )
