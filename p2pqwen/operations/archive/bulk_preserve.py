"""Preserve many repositories: survey, plan, work in parallel within limits, and summarise.

Finished work is kept: to resume a run that was killed, repeat the command. It finds complete snapshots in the library
and the finished files of others in staging. The failure of one repository does not stop the others. Network failures
are retried at the end, after a pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter

from p2pqwen.errors import NetworkError, P2pqwenError, VerificationError
from p2pqwen.events import Event, Notice, Progress, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library import durable
from p2pqwen.library.snapshots import Library
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.bulk_survey import Surveyed, Wanted, survey_all
from p2pqwen.operations.archive.upstream import check_upstream, note_upstream
from p2pqwen.operations.preserve.build import Preserved
from p2pqwen.operations.preserve.from_origin import (
    PreserveOptions,
    check_against_listing,
    preserve_listing,
    prove_over_git,
)
from p2pqwen.operations.preserve.held_check import KnownDamage, complete_snapshot, nothing_known
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.stewardship.bulk_plan import NO_LIMITS, Action, BulkLimits, BulkPlan, Planned, failed, plan_bulk
from p2pqwen.stewardship.upstream import vanished
from p2pqwen.values.grouping import group_by
from p2pqwen.values.listing import Listing
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

PARALLEL = 2
"""Repositories at once: the hashing of one overlaps with the downloads of the other. Each downloads 8 files at a
time."""

RETRY_PAUSES = (5.0, 30.0, 120.0)
"""Seconds before network failures are retried."""


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How to work. `dry_run`: only plan."""

    limits: BulkLimits = NO_LIMITS
    parallel: int = PARALLEL
    dry_run: bool = False
    retry_pauses: tuple[float, ...] = RETRY_PAUSES


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The result for every repository. `rows` is the plan with failures marked; sizes in bytes.

    `vanished`: held snapshots that the Hub no longer shows, found out in this run.
    """

    rows: tuple[Planned, ...]
    done: tuple[Preserved, ...]
    to_bring: int
    free: int
    dry_run: bool = False
    vanished: tuple[SnapshotId, ...] = ()

    def of(self, *actions: Action) -> list[Planned]:
        """Return the rows with one of these actions."""
        return [row for row in self.rows if row.action in actions]

    @property
    def size(self) -> int:
        """Bytes of what was preserved in this run."""
        return sum(one.metainfo.layout.total_size for one in self.done)


@dataclass(frozen=True, slots=True)
class BulkContext:
    """Where a bulk preserve reads and writes, and what is known to be damaged there."""

    origin: Origin
    cache: HubCache
    library: Library
    upstream: UpstreamStore
    clock: Callable[[], datetime]
    known_damage: KnownDamage = nothing_known
    sleep: Callable[[float], None] = field(default=lambda seconds: time.sleep(seconds))  # noqa: PLW0108 - asked late


def bulk_preserve(wanted: Wanted, options: BulkOptions, places: BulkContext, report: Report = ignore) -> BulkResult:
    """Preserve every wanted repository that the limits allow; raises `DiskError` if the home cannot be used."""
    free = places.library.room
    limits = replace(options.limits, free=free)
    with places.origin.telling_waits(lambda seconds: report(_waiting(seconds))):
        surveyed = survey_all(
            [one for one in wanted.repos if limits.passes(one)],
            origin=places.origin,
            cache=places.cache,
            library=places.library,
            read_licenses=bool(limits.licenses),
            known_damage=places.known_damage,
            report=report,
        )
        missed = _note_answers(wanted, surveyed, places, report)
        plan = plan_bulk([one.survey for one in surveyed], limits)
        _discard_skipped(plan, places.library)
        report(Notice("info", f"plan: {plan.summary(free)}"))
        if options.dry_run:
            return BulkResult(plan.rows, (), plan.to_bring, free, dry_run=True, vanished=missed)
        listings = {one.listing.snapshot: one.listing for one in surveyed if one.listing is not None}
        work = _Work(plan, listings, options, places, report)
        done = work.run()
        work.prove([one.listing for one in surveyed if one.unproven and one.listing is not None])
    return BulkResult(tuple(work.outcome(row) for row in plan.rows), done, plan.to_bring, free, vanished=missed)


def _waiting(seconds: float) -> Notice:
    return Notice("info", f"the Hub's rate limit is reached: resuming in {seconds:.0f} s")


def _note_answers(
    wanted: Wanted, surveyed: Sequence[Surveyed], places: BulkContext, report: Report
) -> tuple[SnapshotId, ...]:
    """Remember what the Hub said: what it shows, and which held snapshots' repositories it no longer has."""
    held = [one.id for one in places.library.all()]
    of_repo = group_by(held, attrgetter("repo"))
    seen: list[tuple[SnapshotId, bool]] = []
    for one in surveyed:
        survey = one.survey
        if one.listing is not None:
            if one.listing.shown is not None:
                shown = one.listing.shown and not (one.listing.private or one.listing.disabled)
                seen.append((one.listing.snapshot, shown))
        elif survey.absent and survey.wanted.revision is None:
            seen += [(snapshot, False) for snapshot in of_repo.get(survey.wanted.repo, ())]
    gone = []
    for snapshot, shown in seen:
        before, after = note_upstream(places.upstream, snapshot, shown=shown, now=places.clock(), report=report)
        if vanished(before, after):
            gone.append(snapshot)
    # An organisation's list does not name what it no longer has.
    checked = check_upstream(wanted.missing(held), places.origin, places.upstream, clock=places.clock, report=report)
    return tuple(sorted({*gone, *checked.vanished}))


def _discard_skipped(plan: BulkPlan, library: Library) -> None:
    """Remove the README.md that was staged to read a license."""
    for row in plan.rows:
        if row.action is Action.SKIPPED and row.survey.commit is not None:
            library.discard_stage(_snapshot(row))


class _Work:
    """Preserves the repositories of a plan, several at once."""

    def __init__(
        self,
        plan: BulkPlan,
        listings: dict[SnapshotId, Listing],
        options: BulkOptions,
        places: BulkContext,
        report: Report,
    ) -> None:
        self._rows = plan.work
        self._listings, self._options, self._places, self._report = listings, options, places, report
        self._total = _Total(plan, report)
        self._errors: dict[tuple[RepoId, str], P2pqwenError] = {}

    def run(self) -> tuple[Preserved, ...]:
        """Preserve everything that is possible; return it in the plan's order."""
        done: dict[SnapshotId, Preserved] = {}
        waiting = list(self._rows)
        for pause in (0.0, *self._options.retry_pauses):
            if not waiting:
                break
            if pause:
                self._report(Notice("info", f"{len(waiting)} to try again, in {pause:g} s"))
                self._places.sleep(pause)
            waiting = self._round(waiting, done)
        return tuple(done[_snapshot(row)] for row in self._rows if _snapshot(row) in done)

    def prove(self, unproven: Sequence[Listing]) -> None:
        """Prove held, unproven snapshots whose commit object can be read now; leave the others."""
        places = self._places
        for listing in unproven:
            snapshot = listing.snapshot
            try:
                with durable.lock(places.library.lock_path(snapshot)):
                    if (held := complete_snapshot(places.library, snapshot)) is not None:
                        options = PreserveOptions(known_damage=places.known_damage)
                        content = check_against_listing(
                            held, listing, places.origin.site.endpoint, options, places.library
                        )
                        prove_over_git(content, places.origin, places.library, self._report)
            except VerificationError as error:
                self._errors[snapshot.repo, str(snapshot.commit)] = error
                self._report(Notice("warning", f"{snapshot.repo}: {error.message}"))
            except P2pqwenError as error:  # the next run tries again
                self._report(Notice("info", f"{snapshot.repo} stays unproven: {error.message}"))

    def outcome(self, row: Planned) -> Planned:
        """Return a row with its final action."""
        error = self._errors.get(_key(row))
        return row if error is None else failed(row.survey, error)

    def _round(self, rows: Sequence[Planned], done: dict[SnapshotId, Preserved]) -> list[Planned]:
        """Try every row once; return those that failed because of the network."""
        again = []
        pool = ThreadPoolExecutor(max(1, self._options.parallel), "preserve")
        try:
            futures = {pool.submit(self._one, row): row for row in rows}
            for future in as_completed(futures):
                row = futures[future]
                try:
                    done[_snapshot(row)] = future.result()
                except Exception as error:  # noqa: BLE001 - one repository must not stop the other 300
                    if self._failed(row, error):
                        again.append(row)
                else:
                    self._errors.pop(_key(row), None)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return again

    def _failed(self, row: Planned, error: Exception) -> bool:
        """Note why a repository failed, and return whether trying again may help."""
        self._errors[_key(row)] = failure = _failure(error)
        self._report(Notice("warning", f"{row.survey.wanted.repo}: {failure.message}"))
        return isinstance(failure, NetworkError)

    def _one(self, row: Planned) -> Preserved:
        snapshot = _snapshot(row)
        done = preserve_listing(
            self._listings[snapshot],
            origin=self._places.origin,
            cache=self._places.cache,
            library=self._places.library,
            options=PreserveOptions(allow_gated=self._options.limits.allow_gated),
            report=self._total.of(snapshot),
        )
        self._total.finish(snapshot)
        claimed = row.survey.wanted.license
        if claimed is not None and done.manifest.license not in {None, claimed} and claimed != "other":
            text = f"{snapshot.repo}: the list says license {claimed}, its README.md says {done.manifest.license}"
            self._report(Notice("warning", text))
        return done


def _failure(error: Exception) -> P2pqwenError:
    if isinstance(error, P2pqwenError):
        return error
    return P2pqwenError("unexpected failure", got=f"{type(error).__name__}: {error}")


def _snapshot(row: Planned) -> SnapshotId:
    if row.survey.commit is None:
        raise ValueError("a repository without a commit cannot be worked on")
    return SnapshotId(row.survey.wanted.repo, row.survey.commit)


def _key(row: Planned) -> tuple[RepoId, str]:
    return row.survey.wanted.repo, str(row.survey.commit)


class _Total:
    """Many preservations as one progress bar: bytes of all snapshots, and how many are finished."""

    def __init__(self, plan: BulkPlan, report: Report) -> None:
        self._sizes = {_snapshot(row): row.survey.size for row in plan.work}
        self._bytes = dict.fromkeys(self._sizes, 0)
        self._finished: set[SnapshotId] = set()
        self._report = report
        self._lock = threading.Lock()

    def of(self, snapshot: SnapshotId) -> Report:
        """Return the reporter of one snapshot."""

        def report(event: Event) -> None:
            match event:
                case Progress(stage="download", done=done):
                    self._advance(snapshot, done)
                case Progress():
                    pass  # hashing follows downloading closely
                case Notice(level=level, text=text):
                    self._report(Notice(level, f"{snapshot.repo}: {text}"))
                case _:
                    self._report(event)

        return report

    def finish(self, snapshot: SnapshotId) -> None:
        """Count a snapshot as done."""
        with self._lock:
            self._finished.add(snapshot)
        self._report(Notice("info", f"preserved {snapshot}"))
        self._advance(snapshot, self._sizes[snapshot])

    def _advance(self, snapshot: SnapshotId, done: int) -> None:
        with self._lock:
            self._bytes[snapshot] = done
            detail = f"{len(self._finished)} of {len(self._sizes)} repositories"
            self._report(Progress("preserve", sum(self._bytes.values()), sum(self._sizes.values()), detail))
