"""How an app keeps the archive: examine swarms, plan, fetch what the plan takes, delete what it gives up.

A running node carries the plan out; if none runs, this process does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from p2pqwen.app import App
from p2pqwen.assembly import planning
from p2pqwen.errors import NotFoundError
from p2pqwen.events import Notice, Report
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.own_files import Left
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.operations.archive.adopt import Adoption, Wishes
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.archive.rebalance import Exchanged, carry_out, plan_rebalance
from p2pqwen.operations.archive.watched import WatchedSwarm
from p2pqwen.stewardship.rebalance import Rebalance
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:  # showing a plan does not need the modules that ask swarms and fetch
    from p2pqwen.operations.archive.swarm_probe import Probes
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.operations.node.fetch_batch import Brought

_LAST_LOOK = 20.0
"""Seconds for the last look at a swarm before a copy of it is given up."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What `adopt` planned, and the result for each snapshot that it fetched."""

    plan: Adoption
    fetched: tuple[Brought, ...] = ()


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """What `rebalance` planned within `budget` bytes, and the result of each exchange."""

    plan: Rebalance
    budget: int
    exchanged: tuple[Exchanged, ...] = ()


@dataclass(frozen=True, slots=True)
class Archiver:
    """One run of `adopt` or `rebalance`. `request` makes a snapshot's fetch request; `probes` asks swarms.

    It is the `Executor` of a rebalance.
    """

    app: App
    store: StateStore
    request: Callable[[SnapshotId], FetchRequest]
    probes: Callable[[], Probes]
    report: Report

    def adopt(
        self, wishes: Wishes, budget: int, *, seconds: float, dry_run: bool, show: Callable[[Adoption], None]
    ) -> Adopted:
        """Examine swarms for `seconds`, choose what to hold within `budget` bytes, show the plan and fetch it.

        Raises `NotFoundError` when no trusted index lists anything.
        """
        self._look(seconds)
        outlook = planning.outlook(self.app, self.store, self.report)
        if not outlook.listed.columns.names:
            raise NotFoundError("no trusted index lists anything", hint="see `p2pqwen trust add`")
        plan = outlook.plan(wishes, budget)
        if dry_run:
            for said in outlook.withdrawn(one.snapshot for one in plan.chosen):  # otherwise the fetch says so
                self.report(Notice("warning", f"{said.snapshot} is {said}"))
            return Adopted(plan)
        StewardStore(self.store).set_budget(budget)
        show(plan)
        return Adopted(plan, tuple(self._fetch([one.snapshot for one in plan.chosen])))

    def rebalance(
        self, wishes: Wishes, budget: int | None, *, seconds: float, dry_run: bool, agree: Callable[[Rebalance], None]
    ) -> Rebalanced:
        """Examine swarms for `seconds`, plan a round of exchanges and carry it out unless `agree` raises.

        `budget` None: that of the last `adopt`, or else the size of what is held.
        """
        self._look(seconds)
        outlook = planning.outlook(self.app, self.store, self.report)
        known = StewardStore(self.store).budget()
        size = budget if budget is not None else outlook.used if known is None else known
        plan = plan_rebalance(outlook, wishes, size, planning.pinned(self.store))
        if dry_run or not plan.exchanges:
            return Rebalanced(plan, size)
        agree(plan)
        done = carry_out(
            plan.exchanges,
            self,
            node=outlook.node,
            pinned=lambda: planning.pinned(self.store),
            clock=lambda: datetime.now(UTC),
            report=self.report,
        )
        return Rebalanced(plan, size, tuple(done))

    def look(self, snapshots: Collection[SnapshotId]) -> Outlook:
        """Examine these swarms now and return a new outlook."""
        self._look(_LAST_LOOK, snapshots)
        return planning.outlook(self.app, self.store, self.report)

    def bring(self, snapshot: SnapshotId) -> None:
        """Fetch a snapshot; raises `P2pqwenError`."""
        for one in self._fetch([snapshot]):
            if one.error is not None:
                raise one.error

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        """Delete a held snapshot and return what remains in its folder; raises `P2pqwenError`."""
        from p2pqwen.assembly import changing

        done = changing.remove(self.app, str(snapshot), self.report)
        self.report(Notice("info", f"given up: {snapshot}"))
        return tuple(left for one in done.removed for left in one.left)

    def room(self) -> int:
        """Return the bytes that the library folder with the most room may still take."""
        return max((folder.room for folder in self.app.library.folders), default=0)

    def _look(self, seconds: float, only: Collection[SnapshotId] | None = None) -> None:
        if seconds > 0:
            swarms = list(planning.each_swarm(self.app, only))
            look(self.app, swarms, HealthStore(self.store), self.probes(), self.report, seconds=seconds, again=True)

    def _fetch(self, snapshots: Sequence[SnapshotId]) -> list[Brought]:
        from p2pqwen.assembly import fetching
        from p2pqwen.operations.node.fetch_batch import bring_by_node, fetch_batch_here

        running = self.app.running() if snapshots else None
        if running is None:
            return fetch_batch_here(snapshots, self.request, partial(fetching.fetch_here, self.app), self.report)
        try:
            return bring_by_node(snapshots, self.request, running, self.report)
        except KeyboardInterrupt:
            self.report(Notice("info", "the node continues: `p2pqwen status` shows its progress"))
            raise


def look(
    app: App,
    swarms: list[WatchedSwarm],
    known: HealthStore,
    probes: Probes,
    report: Report,
    *,
    seconds: float,
    again: bool = False,
) -> None:
    """Examine the swarms that are due and remember the findings; reports how many were not reached in time."""
    from p2pqwen.assembly import looking
    from p2pqwen.loop_thread import run_now
    from p2pqwen.operations.archive.health import look_for

    left = run_now(
        look_for(
            swarms,
            known,
            probes,
            own=looking.own_rows(app),
            seconds=seconds,
            again=again,
            clock=lambda: datetime.now(UTC),
            report=report,
        )
    )
    if left:
        text = f"{left} of {len(swarms)} swarms were not looked at in {seconds:.0f} s; run it again, or run a node"
        report(Notice("info", text))
