"""Alert a person to trouble, wherever they are: look once a minute, and send what is new.

It looks even without an address to send to, for the dashboard and `p2pqwen alerts list`. It reads swarms and publishers
every 15 minutes only: both may be large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from p2pqwen.containment import each, warn
from p2pqwen.events import Happened, Notice, Report, ignore
from p2pqwen.library.alert_store import AlertStore
from p2pqwen.net.messages import NotSent
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.control.alerts import Folder, PublisherLook, of_publishers, of_status, of_swarms
from p2pqwen.operations.control.status import NodeStatusAnswer
from p2pqwen.stewardship.alerts import Alert, AlertKind, after_round, news, worst_first
from p2pqwen.stewardship.danger import Danger, danger_of
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import SnapshotId

EVERY = 60.0
FIRST = 10.0
"""Seconds until the first look: a node loads its torrents first."""
SURVEY_EVERY = timedelta(minutes=15)
AGAIN_AFTER = timedelta(minutes=5)
"""The pause after a message that reached no address."""
SHOWN = 20
"""Most alerts that one message names."""


class Messenger(Protocol):
    """Sends messages to addresses of the user's choosing."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses, without secrets."""

    def send(self, title: str, body: str, *, danger: bool) -> tuple[NotSent, ...]:
        """Send a message to every address, and return those that failed. Raises nothing."""


def message(alerts: tuple[Alert, ...], node: str) -> tuple[str, str]:
    """Return title and text of a message about new alerts; `node` is the name of the machine."""
    lines = [f"{one.level}: {one}" for one in alerts[:SHOWN]]
    if len(alerts) > SHOWN:
        lines.append(f"and {len(alerts) - SHOWN} more: `p2pqwen alerts list` on {node}")
    return f"p2pqwen on {node}: {plural(len(alerts), 'alert')}", "\n".join(lines)


@dataclass(slots=True)
class AlertWatch:
    """The watch of one node; a context manager that runs while the node does.

    `status`, `rooms`, `failing` (disks), `swarms` (of held snapshots) and `publishers` return the current state. While
    the node is `loading`, its state is not complete yet.
    """

    status: Callable[[], NodeStatusAnswer]
    rooms: Callable[[], Mapping[str, int | None]]
    swarms: Callable[[], Mapping[SnapshotId, SwarmHealth]]
    publishers: Callable[[], list[PublisherLook]]
    store: AlertStore
    messenger: Messenger | None
    clock: Callable[[], datetime]
    node: str
    quiet: timedelta = timedelta(days=1)
    mute: tuple[AlertKind, ...] = ()
    report: Report = ignore
    loading: Callable[[], bool] = lambda: False
    failing: Callable[[], Mapping[str, str]] = dict
    every: float = EVERY
    _surveyed: datetime | None = None
    _slow: tuple[Alert, ...] = ()
    _dangers: Mapping[str, Danger] = field(default_factory=dict)
    _last: tuple[Alert, ...] = ()
    _failed: datetime | None = None
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("alerts", self._run, report=self.report)

    def __enter__(self) -> Self:
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.stop()

    @property
    def busy(self) -> bool:
        """Whether it is waiting for a server's answer."""
        return self._background.busy

    @property
    def slow(self) -> tuple[Alert, ...]:
        """What the last survey of swarms and publishers found."""
        return self._slow

    @property
    def dangers(self) -> Mapping[str, Danger]:
        """How close each held snapshot is to being lost, as last surveyed, by `org/model@commit`."""
        return self._dangers

    @property
    def last(self) -> tuple[Alert, ...]:
        """Everything that the last look found."""
        return self._last

    def current(self) -> tuple[Alert, ...]:
        """Return all that is wrong now, worst first; for swarms and publishers, as last surveyed."""
        folders = Folder.all(self.rooms(), self.failing())
        return worst_first((*of_status(self.status(), folders), *self._slow))

    def look(self) -> tuple[Alert, ...]:
        """Do one round: survey if it is due, send what is new, and return it. Raises `P2pqwenError`."""
        now = self.clock()
        if self._surveyed is None or now - self._surveyed >= SURVEY_EVERY:
            swarms = self.swarms()
            self._slow = worst_first((*of_publishers(self.publishers(), now), *of_swarms(swarms, now)))
            self._dangers = {str(one): danger_of(health, now) for one, health in swarms.items()}
            self._surveyed = now
        current, told = self.current(), self.store.told()
        self._last = current
        fresh = news(current, told, self.mute)
        sent = fresh if self._told(fresh, now) else ()
        for one in sent:
            self.report(Happened("alert", {"level": one.level, "kind": one.kind, "about": one.about, "text": one.text}))
        if (after := after_round(current, told, sent, now, self.quiet)) != told:
            self.store.set_told(after)
        return sent

    def _told(self, fresh: tuple[Alert, ...], now: datetime) -> bool:
        """Send a message about new alerts; tell whether it reached an address, or there is none."""
        if not fresh or self.messenger is None:
            return True
        if self._failed is not None and timedelta(0) <= now - self._failed < AGAIN_AFTER:
            return False
        title, body = message(fresh, self.node)
        failures = self.messenger.send(title, body, danger=any(one.level == "danger" for one in fresh))
        for one in failures:
            self.report(Notice("warning", f"no alert was sent to {one.to}: {one.reason}"))
        reached = len(failures) < len(self.messenger.addresses)
        self._failed = None if reached else now
        return reached

    def _run(self) -> None:
        wait = min(FIRST, self.every)
        while not self._background.wait(wait):
            wait = self.every
            if not self.loading():
                each([self], AlertWatch.look, failed=warn(self.report, lambda _: "alerts"))
