"""What the dashboard shows: the node's state, what changed since, its rates over an hour and a day, and alerts.

A page gets one complete picture, then only the changes, every 2 seconds. All pages show the same moment, which is drawn
once. Rates are measured every 10 seconds even if no page is open; each point of the day's plot is the mean of 5
minutes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from p2pqwen.containment import each
from p2pqwen.errors import InUseError
from p2pqwen.operations.archive.watch_record import WatchAnswer
from p2pqwen.operations.control.alerts import Folder, of_status
from p2pqwen.operations.control.routes import NetworkAnswer
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusRow
from p2pqwen.operations.node.job_answer import JobAnswer
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.state import NodeAddress
from p2pqwen.server.control import Given
from p2pqwen.stewardship.alerts import Alert, worst_first
from p2pqwen.stewardship.danger import Danger
from p2pqwen.values.derived import Derived

REFRESH = 2.0
"""Seconds between two pictures."""
SAMPLE = 10.0
"""Seconds between two measurements of the rates."""
CALENDAR = 31
"""Days of the scrub calendar: today and the 30 after it."""
CALENDAR_EVERY = 30.0
"""Seconds between two updates of the calendar: it changes daily, and asks each snapshot."""
HOUR = 360
DAY = 288
_TO_A_POINT = 30
MAX_VIEWERS = 6
"""Pages served at once: each occupies a worker of the control API."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates in bytes a second, oldest first: of the last hour every 10 seconds, of the last day every 5 minutes."""

    hour_up: tuple[int, ...] = ()
    hour_down: tuple[int, ...] = ()
    day_up: tuple[int, ...] = ()
    day_down: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One moment. `snapshots` are the rows that changed since the previous picture, `gone` those that no longer exist.

    `alerts`, `dangers` and `scrubs` are None if unchanged, `rates` if no point was added. `dangers`: how close a
    snapshot is to being lost, as last surveyed. `scrubs`: how many snapshots are due to be scrubbed today (or are
    overdue) and on each of the 30 days after it, UTC.
    """

    node: NodeAddress
    network: NetworkAnswer
    snapshots: tuple[StatusRow, ...]
    gone: tuple[str, ...]
    fetches: tuple[JobAnswer, ...]
    limits: LimitsAnswer
    watch: WatchAnswer | None
    folders: tuple[Folder, ...]
    alerts: tuple[Alert, ...] | None
    rates: Rates | None
    scrubs: tuple[int, ...] | None
    dangers: Mapping[str, Danger] | None


@dataclass(frozen=True, slots=True)
class _Moment:
    """A node's state `at` a moment (monotonic seconds); unchanged rows are the same objects."""

    at: float
    status: NodeStatusAnswer
    network: NetworkAnswer
    folders: tuple[Folder, ...]
    alerts: tuple[Alert, ...]
    dangers: Mapping[str, Danger]
    scrubs: tuple[int, ...]

    def since(self, before: _Moment | None) -> tuple[tuple[StatusRow, ...], tuple[str, ...]]:
        """Return the rows that changed since a moment, and the names of those that no longer exist."""
        rows, old = self.status.snapshots, () if before is None else before.status.snapshots
        if rows is old:
            return (), ()
        known = {one.id: one for one in old}
        changed = tuple(one for one in rows if (was := known.pop(one.id, None)) is not one and was != one)
        return changed, tuple(map(str, known))


@dataclass(slots=True)
class _History:
    """Two ring buffers of rates; thread-safe."""

    hour: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=HOUR))
    day: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=DAY))
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, up: int, down: int) -> None:
        with self.lock:
            self.hour.append((up, down))
            self.count += 1
            if self.count % _TO_A_POINT == 0:
                last = list(self.hour)[-_TO_A_POINT:]
                self.day.append((sum(one for one, _ in last) // len(last), sum(one for _, one in last) // len(last)))

    def rates(self) -> tuple[int, Rates]:
        with self.lock:
            (hour_up, hour_down), (day_up, day_down) = (_unzipped(ring) for ring in (self.hour, self.day))
            return self.count, Rates(hour_up, hour_down, day_up, day_down)


def _unzipped(ring: deque[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(one for one, _ in ring), tuple(one for _, one in ring)


class Dashboard:
    """Measures for the length of the block, and draws pictures on request."""

    def __init__(
        self,
        status: Callable[[], NodeStatusAnswer],
        network: Callable[[], NetworkAnswer],
        rooms: Callable[[], Mapping[str, int | None]],
        more_alerts: Callable[[], tuple[Alert, ...]] = tuple,
        *,
        scrubs: Callable[[int], tuple[int, ...]] = lambda days: (0,) * days,
        failing: Callable[[], Mapping[str, str]] = dict,
        dangers: Callable[[], Mapping[str, Danger]] = dict,
    ) -> None:
        """`more_alerts` returns the alerts about swarms and publishers, which take long to find.

        `failing` returns the folders on failing disks, `dangers` how close snapshots are to being lost, `scrubs` how
        many snapshots are due on each of that many days.
        """
        self._failing, self._dangers = failing, dangers
        self._scrubs = scrubs
        self._calendar: tuple[float, tuple[int, ...]] = -CALENDAR_EVERY, ()
        self._status, self._network, self._rooms, self._more_alerts = status, network, rooms, more_alerts
        self._history = _History()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="dashboard", daemon=True)
        self._viewers = threading.BoundedSemaphore(MAX_VIEWERS)
        self._drawn: _Moment | None = None
        self._alerts: Derived[object, tuple[Alert, ...]] = Derived()
        self._drawing = threading.Lock()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()

    def pictures(self, _given: Given) -> Iterator[Picture]:
        """Yield pictures, the first of them complete; raises `InUseError` at the first for too many viewers."""
        # Taken inside the generator: one that is never started could not release its place.
        if not self._viewers.acquire(blocking=False):
            raise InUseError("too many dashboards are open", expected=f"at most {MAX_VIEWERS}")
        before: _Moment | None = None
        points = -1
        try:
            while not self._stopping.is_set():
                now, (count, rates) = self._look(), self._history.rates()
                yield self._picture(now, before, rates if count != points else None)
                before, points = now, count
                self._stopping.wait(REFRESH)
        finally:
            self._viewers.release()

    def _look(self) -> _Moment:
        """Return the node's state, which all viewers share."""
        with self._drawing:
            if self._drawn is None or time.monotonic() - self._drawn.at > REFRESH / 2:
                self._drawn = self._draw()
            return self._drawn

    def _draw(self) -> _Moment:
        at, status = time.monotonic(), self._status()
        folders = Folder.all(self._rooms(), self._failing())
        seen = (status.snapshots, status.limits, folders)
        (found,) = self._alerts.look([seen], lambda _: of_status(status, folders))
        alerts = worst_first((*found, *self._more_alerts()))
        if at - self._calendar[0] >= CALENDAR_EVERY:
            self._calendar = at, self._scrubs(CALENDAR)
        return _Moment(at, status, self._network(), folders, alerts, self._dangers(), self._calendar[1])

    def _picture(self, now: _Moment, before: _Moment | None, rates: Rates | None) -> Picture:
        changed, gone = now.since(before)
        return Picture(
            node=now.status.node,
            network=now.network,
            snapshots=changed,
            gone=gone,
            fetches=now.status.fetches,
            limits=now.status.limits,
            watch=now.status.watch,
            folders=now.folders,
            alerts=None if before is not None and before.alerts == now.alerts else now.alerts,
            rates=rates,
            scrubs=None if before is not None and before.scrubs == now.scrubs else now.scrubs,
            dangers=None if before is not None and before.dangers == now.dangers else now.dangers,
        )

    def _measure(self) -> None:
        while not self._stopping.wait(SAMPLE):
            # A node that is briefly busy only leaves a gap in the plot.
            for now in each([self._status], lambda ask: ask(), failed=lambda *_: None):
                states = [one.row.state for one in now.snapshots]
                self._history.add(sum(one.upload_rate for one in states), sum(one.download_rate for one in states))
