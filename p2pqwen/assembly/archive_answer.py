"""The answers of `adopt --json` and `rebalance --json`: the plan with its reasons, and the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from p2pqwen.assembly.archiving import Adopted, Rebalanced
from p2pqwen.errors import P2pqwenError
from p2pqwen.library.own_files import Left
from p2pqwen.stewardship.allocation import Decision
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class DecisionAnswer:
    """A snapshot of a plan, with the reason for its place; `size` in bytes."""

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int
    reason: str

    @classmethod
    def all(cls, decisions: Iterable[Decision]) -> tuple[DecisionAnswer, ...]:
        """Return the answer about decisions."""
        return tuple(cls(one.snapshot, one.size, one.reason) for one in decisions)


@dataclass(frozen=True, slots=True)
class OfferedAnswer:
    """A snapshot that could be fetched, with the license that a trusted index names."""

    decision: DecisionAnswer = field(metadata=FLAT)
    license: str | None

    @classmethod
    def of(cls, one: Decision, licenses: Mapping[str, str | None]) -> OfferedAnswer:
        """Return the answer about a decision."""
        return cls(DecisionAnswer(one.snapshot, one.size, one.reason), licenses.get(str(one.snapshot)))


@dataclass(frozen=True, slots=True)
class ChosenAnswer:
    """A snapshot to fetch, and the library folder it goes to."""

    offered: OfferedAnswer = field(metadata=FLAT)
    disk: str | None


@dataclass(frozen=True, slots=True)
class FailedAnswer:
    """A snapshot that could not be fetched or given up, and why."""

    snapshot: SnapshotId = field(metadata=FLAT)
    reason: str


@dataclass(frozen=True, slots=True)
class AdoptAnswer:
    """What `adopt` planned and did. Byte counts: `bytes` (chosen), `budget`, `used` (held before)."""

    chosen: tuple[ChosenAnswer, ...]
    bytes: int
    budget: int
    used: int
    others: tuple[OfferedAnswer, ...]
    fetched: tuple[SnapshotId, ...]
    failed: tuple[FailedAnswer, ...]
    dry_run: bool

    @classmethod
    def of(cls, done: Adopted, *, dry_run: bool) -> AdoptAnswer:
        """Return the answer about it."""
        plan, allocation = done.plan, done.plan.allocation
        return cls(
            chosen=tuple(ChosenAnswer(OfferedAnswer.of(one, plan.licenses), one.disk) for one in plan.chosen),
            bytes=allocation.size,
            budget=allocation.budget,
            used=allocation.used,
            others=tuple(OfferedAnswer.of(one, plan.licenses) for one in (*plan.held, *allocation.others)),
            fetched=tuple(one.snapshot for one in done.fetched if one.error is None),
            failed=_failed((one.snapshot, one.error) for one in done.fetched),
            dry_run=dry_run,
        )


@dataclass(frozen=True, slots=True)
class RebalanceAnswer:
    """What `rebalance` planned and did within `budget` bytes.

    `left`: what remains in the folders of the deleted snapshots because it is not one of their files.
    """

    take: tuple[DecisionAnswer, ...]
    give: tuple[DecisionAnswer, ...]
    kept: tuple[DecisionAnswer, ...]
    left_out: tuple[DecisionAnswer, ...]
    taken: tuple[SnapshotId, ...]
    given: tuple[SnapshotId, ...]
    failed: tuple[FailedAnswer, ...]
    left: tuple[Left, ...]
    budget: int
    dry_run: bool

    @classmethod
    def of(cls, done: Rebalanced, *, dry_run: bool) -> RebalanceAnswer:
        """Return the answer about it."""
        plan = done.plan
        return cls(
            take=DecisionAnswer.all(plan.take),
            give=DecisionAnswer.all(plan.give),
            kept=DecisionAnswer.all(plan.kept),
            left_out=DecisionAnswer.all(plan.left_out),
            taken=tuple(one.plan.take.snapshot for one in done.exchanged if one.taken),
            given=tuple(gone for one in done.exchanged for gone in one.given),
            failed=_failed((one.plan.take.snapshot, one.error) for one in done.exchanged),
            left=tuple(left for one in done.exchanged for left in one.left),
            budget=done.budget,
            dry_run=dry_run,
        )


def _failed(ended: Iterable[tuple[SnapshotId, P2pqwenError | None]]) -> tuple[FailedAnswer, ...]:
    return tuple(FailedAnswer(snapshot, error.message) for snapshot, error in ended if error is not None)
