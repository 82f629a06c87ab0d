"""The standing of held snapshots, kept current while a node runs: trust changes, torrents change, snapshots rise.

At every look: 1. each held snapshot is judged by what is known of its torrent and whom this home trusts now; 2. if a
trusted index claims a proof that is not here, its signed torrent is sought: in bundles and folders at every look, at
mirrors on the web less often; 3. changed standings and new withdrawals are reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Happened, Notice, Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.indexes.rise import Riser
from p2pqwen.operations.node.withdrawal_watch import WithdrawalWatch
from p2pqwen.operations.verify.standings import Standings, Stood
from p2pqwen.values.snapshot_id import SnapshotId

LOOK_EVERY = 1.0
"""Seconds between two looks; more with thousands of snapshots."""
WEB_EVERY = 600.0
"""Seconds between two queries to mirrors on the web for one snapshot, unless trust changes."""
FEW = 50  # up to this many snapshots are judged before the node begins to answer
_PAUSE = 0.02  # seconds between two torrents that are read for the first time
_AT_ONCE = 0.1  # seconds that `of` may spend on snapshots added since the last look


@dataclass(slots=True)
class StandingWatch:
    """The watch of one node; a context manager that runs while the node does."""

    library: Library
    standings: Standings
    riser: Riser
    report: Report = ignore
    clock: Callable[[], float] = time.monotonic
    withdrawals: WithdrawalWatch = field(default_factory=WithdrawalWatch)
    _known: Mapping[SnapshotId, Stood] = field(default_factory=dict)
    _answered: tuple[list[SnapshotId], Mapping[SnapshotId, Stood]] = field(default_factory=lambda: ([], {}))
    _told: dict[SnapshotId, Standing] = field(default_factory=dict)
    _asked: dict[SnapshotId, tuple[object, float]] = field(default_factory=dict)
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("standings", self._run, report=self.report)

    def __enter__(self) -> Self:
        held = self.library.all()
        self._follow_withdrawals(held)  # before anything is served
        if len(held) <= FEW:
            self._look(held)
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.stop()

    @property
    def busy(self) -> bool:
        """Whether it waits for a mirror that has not answered yet."""
        return self._background.busy

    def of(self, snapshots: list[SnapshotId]) -> Mapping[SnapshotId, Stood]:
        """Return what is known of these; those added since the last look are judged now, for `_AT_ONCE` seconds.

        The mapping is a different object once something has changed. Change neither it nor the list that is passed.
        """
        if self._answered[0] is snapshots and self._answered[1] is self._known:
            return self._known
        until = self.clock() + _AT_ONCE
        judged: dict[SnapshotId, Stood] = {}
        for snapshot in snapshots:
            if (
                snapshot not in self._known
                and self.clock() < until
                and (held := self.library.get(snapshot)) is not None
            ):
                judged |= self.standings.of([held])
        if judged:
            self._known = {**self._known, **judged}
        if self._known.keys() >= set(snapshots):
            self._answered = snapshots, self._known
        return self._known

    def _run(self) -> None:
        while not self._background.wait(max(LOOK_EVERY, len(self._known) / 200)):
            held = self.library.all()
            self._follow_withdrawals(held)
            self._look(held)
            if self._raise_some(held):
                self._look(held)

    def _look(self, held: list[HeldSnapshot]) -> None:
        try:
            found = self.standings.of(held, between=lambda: self._background.wait(_PAUSE))
            away = self.standings.away(one.id for one in self.library.away())
        except P2pqwenError as error:
            self.report(Notice("warning", f"standing: {error.message}"))
            return
        known = {**away, **found}
        if known != self._known:  # the same object spares callers from making their rows again
            self._known = known
        for snapshot, stood in found.items():
            before = self._told.get(snapshot)
            self._told[snapshot] = stood.standing
            if before is not None and before is not stood.standing:
                self._tell(snapshot, stood.standing, before)

    def _follow_withdrawals(self, held: list[HeldSnapshot]) -> None:
        try:
            self.withdrawals.look(held)
        except P2pqwenError as error:
            self.report(Notice("warning", f"withdrawals: {error.message}"))

    def _tell(self, snapshot: SnapshotId, now: Standing, before: Standing) -> None:
        facts = {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}
        self.report(Happened("standing", {**facts, "standing": str(now), "before": str(before)}))

    def _raise_some(self, held: list[HeldSnapshot]) -> bool:
        def raise_one(one: HeldSnapshot) -> bool:
            stood = self._known.get(one.id)
            if self._background.is_stopping() or stood is None or not (entries := self.riser.entries(one.id, stood)):
                return False
            trusted, last = self._asked.get(one.id, (None, 0.0))
            now, voices = self.clock(), self.riser.trusted
            web = trusted is not voices or now - last >= WEB_EVERY
            if web:
                self._asked[one.id] = voices, now
            return self.riser.rise(one, entries, web=web, report=self.report if web else ignore)

        def failed(one: HeldSnapshot, error: P2pqwenError) -> None:  # a fetch of it is under way, or its disk has gone
            self.report(Notice("info", f"{one.id}: {error.message}"))

        return any(each(held, raise_one, failed=failed))
