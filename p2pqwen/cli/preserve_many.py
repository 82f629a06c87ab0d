"""`preserve --org ORG` and `preserve --watchlist FILE`: plan, work, and print the result for every repository."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.cli import exit_codes
from p2pqwen.cli.output import Output, fail
from p2pqwen.errors import FormatError, P2pqwenError, UsageError
from p2pqwen.values.byte_size import format_size, parse_size

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.operations.archive.bulk_preserve import BulkOptions, BulkResult
    from p2pqwen.operations.archive.bulk_survey import Wanted
    from p2pqwen.operations.preserve.origin import Origin


@dataclass(frozen=True, slots=True)
class ManyOptions:
    """The options as they were given."""

    org: str | None
    watchlist: Path | None
    include: list[str]
    exclude: list[str]
    license: list[str]
    max_size: str | None
    budget: str | None
    parallel: int | None
    dry_run: bool
    allow_gated: bool

    @property
    def asked(self) -> bool:
        """Whether many repositories were asked for."""
        return self.org is not None or self.watchlist is not None

    def refuse_alone(self) -> None:
        """Refuse options that mean nothing for one repository."""
        given = {
            "--include": self.include,
            "--exclude": self.exclude,
            "--max-size": self.max_size,
            "--budget": self.budget,
            "--parallel": self.parallel,
            "--dry-run": self.dry_run,
        }
        if name := next((name for name, value in given.items() if value), None):
            raise UsageError(f"{name} goes with --org or --watchlist")


def preserve_many(app: App, out: Output, options: ManyOptions) -> None:
    """Carry it out and print the result; exits with the code of the failures, if any."""
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.bulk_answer import BulkAnswer
    from p2pqwen.operations.archive.bulk_preserve import BulkContext, bulk_preserve
    from p2pqwen.operations.verify.scrub import damage_found
    from p2pqwen.stewardship.bulk_plan import Action

    chosen = _bulk_options(options)
    origins = app.origins(out.report)
    wanted = _wanted(origins, options, out)
    with app.state_store(out.report) as store:
        places = BulkContext(
            origins,
            app.hub_cache,
            app.library,
            UpstreamStore(store),
            clock=lambda: datetime.now(UTC),
            known_damage=damage_found(store),
        )
        result = bulk_preserve(wanted, chosen, places, out.report)
    out.result(BulkAnswer.of(result), list(_lines(result)))
    if code := _exit_code(result):
        failed = result.of(Action.FAILED)
        fail(P2pqwenError(f"{len(failed)} failed; {failed[0].survey.wanted.repo}: {failed[0].reason}"), code=code)


def _bulk_options(options: ManyOptions) -> BulkOptions:
    from p2pqwen.operations.archive.bulk_preserve import PARALLEL, BulkOptions
    from p2pqwen.stewardship.bulk_plan import BulkLimits

    if options.parallel is not None and not 1 <= options.parallel <= 16:
        raise UsageError("--parallel", expected="1 to 16 repositories at once", got=options.parallel)
    limits = BulkLimits(
        include=tuple(options.include),
        exclude=tuple(options.exclude),
        licenses=tuple(options.license),
        max_size=None if options.max_size is None else parse_size(options.max_size),
        budget=None if options.budget is None else parse_size(options.budget),
        allow_gated=options.allow_gated,
    )
    return BulkOptions(limits, parallel=options.parallel or PARALLEL, dry_run=options.dry_run)


def _wanted(origin: Origin, options: ManyOptions, out: Output) -> Wanted:
    from p2pqwen.operations.archive.bulk_survey import wanted_repos
    from p2pqwen.values.snapshot_id import Owner

    if options.org is None:
        return wanted_repos(options.watchlist, (), origin, out.report)
    if options.watchlist is not None:
        raise UsageError("--org and --watchlist contradict each other")
    try:
        owner = Owner.parse(options.org)
    except FormatError as error:
        raise UsageError(
            "--org",
            expected="an organisation: Qwen, datasets/Qwen, or modelscope:Qwen",
            got=error.got,
            hint=error.hint,
        ) from error
    return wanted_repos(None, (owner,), origin, out.report)


def _exit_code(result: BulkResult) -> int:
    """Return 0 if nothing failed, the one code that all failures share, or else 1."""
    from p2pqwen.stewardship.bulk_plan import Action

    codes = {exit_codes.exit_code(row.error) for row in result.of(Action.FAILED) if row.error is not None}
    if not codes:
        return exit_codes.DONE
    return codes.pop() if len(codes) == 1 else exit_codes.FAILED


def _lines(result: BulkResult) -> Iterator[str]:
    from p2pqwen.stewardship.bulk_plan import WORK, Action

    if result.dry_run:
        wide = max((len(str(row.survey.wanted.repo)) for row in result.of(*WORK)), default=0)
        for row in result.of(*WORK):
            size = f"{format_size(row.survey.size):>8}, {format_size(row.survey.to_bring):>8} to download"
            named = row.survey.license or "no license named"
            yield f"{row.action:<9}  {row.survey.wanted.repo!s:<{wide}}  {size}, {named}"
    for one in result.done:
        yield f"preserved  {one.held.id}  {format_size(one.metainfo.layout.total_size)}"
    for row in result.of(Action.SKIPPED, Action.FAILED):
        yield f"{row.action:<9}  {row.survey.wanted.repo}: {row.reason}"
    unchanged, skipped, failed = (len(result.of(one)) for one in (Action.UNCHANGED, Action.SKIPPED, Action.FAILED))
    rest = f"{unchanged} unchanged, {skipped} skipped, {failed} failed"
    if result.dry_run:
        yield f"{len(result.of(*WORK))} to preserve, {rest}"
        room = f"{format_size(result.free)} free"
        yield f"{format_size(result.to_bring)} to download, {room}; nothing was done (--dry-run)"
    else:
        yield f"{len(result.done)} preserved ({format_size(result.size)}), {rest}"
