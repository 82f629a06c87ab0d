"""`p2pqwen rebalance`: give up well-kept snapshots for endangered ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.archive_options import (
    Exclude,
    License,
    Look,
    Network,
    NoWebSeeds,
    Peer,
    Prefer,
    Timeout,
    decision_line,
    exit_for,
    open_archiver,
)
from p2pqwen.cli.network_options import SwitchedOff, network_switches
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output
from p2pqwen.errors import P2pqwenError, UsageError
from p2pqwen.values.byte_size import parse_size
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.assembly.archiving import Rebalanced
    from p2pqwen.stewardship.rebalance import Rebalance


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rebalance)


@network_switches()
def rebalance(
    budget: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Total size this node may hold (default: the budget of the last `adopt`)."),
    ] = None,
    prefer: Prefer = None,
    exclude: Exclude = None,
    licenses: License = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    look: Look = 60.0,
    peer: Peer = None,
    no_web_seeds: NoWebSeeds = False,
    timeout: Timeout = None,
    off: SwitchedOff = (),
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Replace well-kept snapshots with endangered ones, a few at a time.

    Never gives up a snapshot that is pinned, younger than a month, or would drop below nine copies; and only
    one holder in ten gives a snapshot up in any four weeks, so that holders do not all act on the same surplus.
    """
    from p2pqwen.assembly.archive_answer import RebalanceAnswer
    from p2pqwen.operations.archive.adopt import Wishes

    size = None if budget is None else parse_size(budget)
    network = Network(peers=tuple(peer or ()), web_seeds=not no_web_seeds, timeout=timeout, off=off)
    with Output(as_json=json_output, quiet=quiet) as out:
        with open_archiver(network, out) as archiver:
            done = archiver.rebalance(
                Wishes(tuple(prefer or ()), tuple(exclude or ()), tuple(licenses or ())),
                size,
                seconds=look,
                dry_run=dry_run,
                agree=lambda plan: _ask(plan, out, yes=yes),
            )
        out.result(RebalanceAnswer.of(done, dry_run=dry_run), list(_lines(done, dry_run=dry_run)))
    exit_for([one.error for one in done.exchanged])


def _ask(plan: Rebalance, out: Output, *, yes: bool) -> None:
    if yes or not plan.give:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"giving up {plural(len(plan.give), 'snapshot')} needs confirmation, and there is no terminal",
            hint="use --yes or --dry-run",
        )
    for line in _plan_lines(plan):
        out.note(line)
    if not out.confirm(f"Give up {plural(len(plan.give), 'snapshot')} for {len(plan.take)}?"):
        raise P2pqwenError("cancelled; nothing was changed")


def _lines(done: Rebalanced, *, dry_run: bool) -> Iterator[str]:
    plan, exchanged = done.plan, done.exchanged
    yield from _plan_lines(plan)
    for one in plan.kept:
        yield f"keep    {decision_line(one)}"
    for one in plan.left_out:
        yield f"skip    {decision_line(one)}"
    if not plan.exchanges:
        yield "nothing to change"
    elif dry_run:
        yield "nothing was done (--dry-run)"
    else:
        failed = sum(one.error is not None for one in exchanged)
        given = sum(len(one.given) for one in exchanged)
        yield f"{sum(one.taken for one in exchanged)} taken, {given} given up, {failed} failed"


def _plan_lines(plan: Rebalance) -> Iterator[str]:
    for exchange in plan.exchanges:
        yield f"fetch   {decision_line(exchange.take)}"
        for one in exchange.give:
            yield f"give up {decision_line(one)}"
