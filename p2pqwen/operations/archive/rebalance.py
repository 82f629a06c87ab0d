"""Give up well-kept snapshots for endangered ones: plan it for what is held here, and carry it out with care.

Before a snapshot is given up, its swarm is judged again. If the disk has room, the new snapshot is fetched and verified
before the old one is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library.durable import disk_errors
from p2pqwen.library.own_files import Left
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.operations.archive.adopt import Wishes, words_of
from p2pqwen.operations.archive.listed import Kept
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.stewardship.allocation import Decision
from p2pqwen.stewardship.rebalance import Exchange, Holding, Rebalance, rebalance, why_kept
from p2pqwen.values.snapshot_id import SnapshotId


class Executor(Protocol):
    """What carrying a plan out needs, by a running node or in this process."""

    def look(self, snapshots: Collection[SnapshotId]) -> Outlook:
        """Examine these swarms now and return a new outlook."""

    def bring(self, snapshot: SnapshotId) -> None:
        """Fetch a snapshot; raises `P2pqwenError`."""

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        """Delete a held snapshot and return what remains in its folder; raises `P2pqwenError`."""

    def room(self) -> int:
        """Return the bytes that may be written."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The result of one exchange: what was taken and given up, and the error if it failed.

    `left`: what remains in the folders of the deleted snapshots because it is not one of their files.
    """

    plan: Exchange
    taken: bool = False
    given: tuple[SnapshotId, ...] = ()
    error: P2pqwenError | None = None
    left: tuple[Left, ...] = ()


def plan_rebalance(outlook: Outlook, wishes: Wishes, budget: int, pinned: Collection[SnapshotId] = ()) -> Rebalance:
    """Plan one round of changes within `budget` bytes."""
    return rebalance(
        outlook.offers(wishes),
        holdings(outlook, pinned),
        node=outlook.node,
        budget=budget,
        now=outlook.now,
        room=max((disk.room for disk in outlook.disks), default=0),
        used=outlook.used,
    )


def holdings(outlook: Outlook, pinned: Collection[SnapshotId]) -> list[Holding]:
    """Return the whole snapshots, as only these may be given up; one that has just been deleted is left out."""

    def holding(one: Kept) -> Holding:
        snapshot = one.held.id
        return Holding(
            snapshot,
            one.size,
            held_since(one.held),
            outlook.health(snapshot),
            pinned=snapshot in pinned,
            listed=str(snapshot) in outlook.listed.places,
            withdrawn=words_of(outlook.withdrawn([snapshot])),
        )

    whole = (one for one in outlook.held if one.held.state is State.COMPLETE)
    return each(whole, holding, failed=lambda *_: None)


def held_since(held: HeldSnapshot) -> datetime:
    """Return since when a snapshot is certainly here: its torrent may have been rewritten since it arrived.

    Raises `DiskError`.
    """
    with disk_errors(f"look at {held.torrent_path}"):
        return datetime.fromtimestamp(held.torrent_path.stat().st_mtime, UTC)


def carry_out(
    exchanges: Sequence[Exchange],
    executor: Executor,
    *,
    node: bytes,
    pinned: Callable[[], Collection[SnapshotId]],
    clock: Callable[[], datetime],
    report: Report = ignore,
) -> list[Exchanged]:
    """Carry out exchanges; a failing one does not stop the others, nor give up anything that is no longer justified."""
    return [_one(exchange, executor, node, pinned, clock, report) for exchange in exchanges]


def _one(
    plan: Exchange,
    executor: Executor,
    node: bytes,
    pinned: Callable[[], Collection[SnapshotId]],
    clock: Callable[[], datetime],
    report: Report,
) -> Exchanged:
    given: list[SnapshotId] = []
    left: list[Left] = []
    taken = False

    def give() -> None:
        for gone in plan.give:
            _require_still(gone, executor, node, pinned(), clock())
        for gone in plan.give:
            stays = executor.remove(gone.snapshot)
            left.extend(stays)
            for one in stays:
                report(Notice("warning", f"left {one.path}: {one.reason}"))
            given.append(gone.snapshot)

    try:
        if plan.give and plan.take.size > executor.room():
            give()
        executor.bring(plan.take.snapshot)
        taken = True
        if not given:
            give()
    except P2pqwenError as error:
        report(Notice("warning", error.message))
        return Exchanged(plan, taken, tuple(given), error, tuple(left))
    return Exchanged(plan, taken, tuple(given), left=tuple(left))


def _require_still(
    gone: Decision, executor: Executor, node: bytes, pinned: Collection[SnapshotId], now: datetime
) -> None:
    """Raise `P2pqwenError` unless a snapshot may still be given up."""
    for one in holdings(executor.look([gone.snapshot]), pinned):
        if one.snapshot != gone.snapshot:
            continue
        reason = why_kept(one, node, now)
        if reason is None:
            return
        raise P2pqwenError(f"{gone.snapshot} is kept after all: {reason}")
    raise P2pqwenError(f"{gone.snapshot} is no longer in the library")
