"""What a bulk preserve will do with each repository, and why, decided before anything is downloaded."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.manifest.license import is_licensed
from p2pqwen.stewardship.watchlist import WatchedRepo
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.digest import CommitId


class Action(enum.StrEnum):
    """What is done with a repository."""

    NEW = "new"  # to preserve
    CHANGED = "changed"  # to preserve; an earlier commit of it is held
    UNCHANGED = "unchanged"  # this commit is held
    SKIPPED = "skipped"  # by our choice or its owner's
    FAILED = "failed"


WORK = frozenset({Action.NEW, Action.CHANGED})


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found about one wanted repository. Sizes in bytes; `to_bring`: those that are not on this disk yet.

    `held`: this commit is held and complete; `earlier`: how many other commits are. `closed`: gated, private or
    disabled. `error`: why nothing is known; `absent`: the Hub says that it does not exist. `repeated`: another wanted
    name leads to the same snapshot.
    """

    wanted: WatchedRepo
    commit: CommitId | None = None
    size: int = 0
    to_bring: int = 0
    held: bool = False
    earlier: int = 0
    closed: str | None = None
    license: str | None = None
    error: P2pqwenError | None = None
    absent: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """The limits of one bulk preserve. Sizes in bytes, None for no limit; `licenses` are globs, empty for any."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    max_size: int | None = None
    budget: int | None = None
    free: int | None = None
    allow_gated: bool = False

    def passes(self, wanted: WatchedRepo) -> bool:
        """Tell whether --include and --exclude select a repository."""
        included = not self.include or any(wanted.matches(pattern) for pattern in self.include)
        return included and not any(wanted.matches(pattern) for pattern in self.exclude)


NO_LIMITS = BulkLimits()


@dataclass(frozen=True, slots=True)
class Planned:
    """One repository and what is done with it; `reason` says why, `error` if it failed."""

    survey: Survey
    action: Action
    reason: str = ""
    error: P2pqwenError | None = None

    @property
    def is_work(self) -> bool:
        """Whether to preserve it."""
        return self.action in WORK


@dataclass(frozen=True, slots=True)
class BulkPlan:
    """Every repository in the order of work: by priority, then small ones first, to save the most models soonest."""

    rows: tuple[Planned, ...]

    @property
    def work(self) -> tuple[Planned, ...]:
        """The repositories to preserve."""
        return tuple(row for row in self.rows if row.is_work)

    @property
    def to_bring(self) -> int:
        """Bytes to download."""
        return sum(row.survey.to_bring for row in self.work)

    def summary(self, free: int) -> str:
        """Return the plan in one line, with the bytes to download and the `free` bytes."""
        counts = Counter(row.action for row in self.rows)
        actions = ", ".join(f"{counts[one]} {one.value}" for one in Action if counts[one]) or "nothing"
        return f"{actions}; {format_size(self.to_bring)} to download, {format_size(free)} free"


def plan_bulk(surveys: Iterable[Survey], limits: BulkLimits) -> BulkPlan:
    """Decide about every repository; the first in order get the budget and the disk, and the rest is left out."""
    ordered = sorted(surveys, key=lambda one: (one.wanted.priority, one.size, one.wanted.repo, str(one.commit)))
    rows = []
    spent = 0
    for survey in ordered:
        row = _decide(survey, limits)
        if row.is_work:
            row = _within(row, limits, spent)
        if row.is_work:
            spent += survey.to_bring
        rows.append(row)
    return BulkPlan(tuple(rows))


def _decide(survey: Survey, limits: BulkLimits) -> Planned:
    if (row := _not_to_be_had(survey, limits)) is not None:
        return row
    if survey.held:
        return Planned(survey, Action.UNCHANGED)
    if (why := _not_wanted(survey, limits)) is not None:
        return Planned(survey, Action.SKIPPED, why)
    if survey.earlier:
        return Planned(survey, Action.CHANGED, "a new commit")
    return Planned(survey, Action.NEW)


def _not_to_be_had(survey: Survey, limits: BulkLimits) -> Planned | None:
    """Return the row if nothing can be done, by the owner's choice or the Hub's, or because of an error; else None."""
    wanted = survey.wanted
    if survey.repeated:
        why = f"{wanted.named or wanted.repo} is {wanted.repo}, which is wanted already"
        return Planned(survey, Action.SKIPPED, why)
    if survey.closed == "disabled" and not survey.held:
        return Planned(survey, Action.SKIPPED, "disabled: the Hub no longer serves it")
    if survey.closed is not None and survey.error is not None and not limits.allow_gated:
        return Planned(survey, Action.SKIPPED, f"{survey.closed}: {survey.error.message}")
    if survey.absent and not wanted.confirmed:
        why = "the Hub shows no such repository, and the watchlist never confirmed it"
        return Planned(survey, Action.SKIPPED, why)
    return None if survey.error is None else failed(survey, survey.error)


def _not_wanted(survey: Survey, limits: BulkLimits) -> str | None:
    if survey.closed is not None and not limits.allow_gated:
        return f"{survey.closed}: its owner restricts access"
    if limits.licenses and not is_licensed(survey.license, limits.licenses):
        named = f"license {survey.license}" if survey.license else "it names no license"
        return f"{named}, wanted {', '.join(limits.licenses)}"
    if limits.max_size is not None and survey.size > limits.max_size:
        return f"too big: {format_size(survey.size)}, at most {format_size(limits.max_size)}"
    return None


def failed(survey: Survey, error: P2pqwenError) -> Planned:
    """Return the row of a repository that could not be preserved, and why."""
    return Planned(survey, Action.FAILED, error.message, error)


def _within(row: Planned, limits: BulkLimits, spent: int) -> Planned:
    need = row.survey.to_bring
    if limits.budget is not None and spent + need > limits.budget:
        left = format_size(limits.budget - spent)
        return replace(row, action=Action.SKIPPED, reason=f"over budget: needs {format_size(need)}, {left} left")
    if limits.free is not None and spent + need > limits.free:
        left = format_size(max(0, limits.free - spent))
        return failed(row.survey, DiskError("no room", expected=f"{format_size(need)} free", got=left))
    return row
