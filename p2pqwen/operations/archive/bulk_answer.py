"""The answers of `preserve --org` and `preserve --watchlist` with `--json`."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pqwen.operations.archive.bulk_preserve import BulkResult
from p2pqwen.stewardship.bulk_plan import WORK, Action, Planned
from p2pqwen.values.digest import CommitId
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


@dataclass(frozen=True, slots=True)
class BulkDone:
    """A snapshot that was preserved; `size` in bytes."""

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A repository; `commit` and `size` are None if the Hub did not list it."""

    repo: RepoId
    commit: CommitId | None
    size: int | None

    @classmethod
    def of(cls, row: Planned) -> BulkRow:
        """Return the answer about a repository."""
        survey = row.survey
        return cls(survey.wanted.repo, survey.commit, None if survey.commit is None else survey.size)


@dataclass(frozen=True, slots=True)
class BulkLeft:
    """A repository that was not preserved, and why."""

    row: BulkRow = field(metadata=FLAT)
    reason: str


@dataclass(frozen=True, slots=True)
class BulkWork:
    """A repository of a plan: what to do, and the bytes to download."""

    row: BulkRow = field(metadata=FLAT)
    action: Action
    needed: int
    license: str | None


@dataclass(frozen=True, slots=True)
class BulkPlanShown:
    """What a dry run adds."""

    plan: tuple[BulkWork, ...]


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """The result for every repository. Sizes in bytes: `bytes` were preserved, `needed` must be downloaded."""

    preserved: tuple[BulkDone, ...]
    unchanged: tuple[BulkRow, ...]
    skipped: tuple[BulkLeft, ...]
    failed: tuple[BulkLeft, ...]
    bytes: int
    vanished: tuple[SnapshotId, ...]
    needed: int
    free: int
    dry_run: bool
    plan: BulkPlanShown | None = field(metadata=FLAT)

    @classmethod
    def of(cls, result: BulkResult) -> BulkAnswer:
        """Return the answer about a run."""
        work = (
            BulkWork(BulkRow.of(row), row.action, row.survey.to_bring, row.survey.license) for row in result.of(*WORK)
        )
        return cls(
            preserved=tuple(BulkDone(one.held.id, one.metainfo.layout.total_size) for one in result.done),
            unchanged=tuple(map(BulkRow.of, result.of(Action.UNCHANGED))),
            skipped=tuple(BulkLeft(BulkRow.of(row), row.reason) for row in result.of(Action.SKIPPED)),
            failed=tuple(BulkLeft(BulkRow.of(row), row.reason) for row in result.of(Action.FAILED)),
            bytes=result.size,
            vanished=result.vanished,
            needed=result.to_bring,
            free=result.free,
            dry_run=result.dry_run,
            plan=BulkPlanShown(tuple(work)) if result.dry_run else None,
        )
