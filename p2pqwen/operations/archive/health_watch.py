"""Health checks in the background of a running node: a few swarms a minute, the longest unseen first.

The cost does not depend on the size of the archive: at most `BATCH` swarms every `EVERY` seconds, `QUERIES` DHT queries
a second, and one thread at the lowest priority. More swarms only mean that each is seen less often.
scripts/bench_health.py measures the cost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library.health_store import HealthStore
from p2pqwen.loop_thread import run_now
from p2pqwen.operations.archive.health import announced, connections, due, keep
from p2pqwen.operations.archive.swarm_probe import Probes, look_at
from p2pqwen.operations.archive.watched import WatchedSwarm
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.stewardship.swarm_record import SwarmRecord
from p2pqwen.values.snapshot_id import SnapshotId

LOOK_EVERY = timedelta(hours=4)
EVERY = 60.0
FIRST = 5.0
BATCH = 10
QUERIES = 20.0
OWN_EVERY = timedelta(minutes=10)
LIST_EVERY = timedelta(minutes=15)
"""How often the list is rebuilt: reading a large index, or the records of many swarms, is costly."""
LISTED = 300
"""Length of the list of swarms that come next, twice as many as are examined before it is rebuilt. It bounds memory."""


@dataclass(slots=True)
class HealthWatch:
    """The watch of one node; a context manager that runs while the node does.

    `swarms` iterates over what matters, `rows` returns what the node sees by itself; both may take long. Nothing is
    examined until the node is `ready`: it loads its torrents first.
    """

    swarms: Callable[[], Iterable[WatchedSwarm]]
    rows: Callable[[], Sequence[SnapshotState]]
    store: HealthStore
    probes: Probes
    clock: Callable[[], datetime]
    report: Report = ignore
    ready: Callable[[], bool] = lambda: True
    every: float = EVERY
    _listed: datetime | None = None
    _watched: list[WatchedSwarm] = field(default_factory=list)
    _records: dict[SnapshotId, SwarmRecord] = field(default_factory=dict)
    _asked: dict[SnapshotId, datetime] = field(default_factory=dict)
    _own: datetime | None = None
    _announced: dict[SnapshotId, bool] = field(default_factory=dict)
    _looking: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("health", self._run, report=self.report)

    def __enter__(self) -> Self:
        if self.probes.dht is not None:
            self.probes = replace(self.probes, dht=replace(self.probes.dht, rate=QUERIES))
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and cancel a round that is under way."""
        self._background.tell()
        if (looking := self._looking) is not None:
            loop, task = looking
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        self._background.stop()

    @property
    def busy(self) -> bool:
        """Whether it still waits for an answer, such as a name server's."""
        return self._background.busy

    def _run(self) -> None:
        wait = min(FIRST, self.every)
        while not self._background.wait(wait):
            try:
                if self.ready():
                    wait = self.every
                    run_now(self._round())
            except asyncio.CancelledError:
                return
            except P2pqwenError as error:
                if not self._background.is_stopping():
                    self.report(Notice("warning", f"health: {error.message}"))

    async def _round(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one
        self._looking = asyncio.get_running_loop(), task
        try:
            now = self.clock()
            if self._listed is None or now - self._listed >= LIST_EVERY:
                self._list(now)
            if self._own is None or now - self._own >= OWN_EVERY:
                self._own, rows = now, self.rows()
                self._announced = announced(rows)
                self._records |= keep(self.store, connections(rows, now))
            waiting = due(self._watched, self._records, now, LOOK_EVERY, self._asked)[:BATCH]
            if waiting and not self._background.is_stopping():
                looks = await look_at(waiting, self.probes, self._records, clock=self.clock, announced=self._announced)
                self._records |= keep(self.store, looks)
                self._asked |= dict.fromkeys((one.snapshot for one in waiting), now)
        finally:
            self._looking = None

    def _list(self, now: datetime) -> None:
        """List the swarms that were unseen the longest."""
        records = self.store.all()
        self._watched = due(self.swarms(), records, now, timedelta(0), self._asked, most=LISTED)
        self._records = {one.snapshot: records[one.snapshot] for one in self._watched if one.snapshot in records}
        self._listed = now
