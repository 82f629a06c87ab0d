"""`p2pqwen adopt`: what the archive needs most, within a budget."""

from __future__ import annotations

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
from p2pqwen.values.byte_size import format_size, parse_size

if TYPE_CHECKING:
    from p2pqwen.assembly.archiving import Adopted
    from p2pqwen.operations.archive.adopt import Adoption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(adopt)


@network_switches()
def adopt(
    budget: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Total size this node may hold, including what it already holds, such as 2TB."
        ),
    ],
    prefer: Prefer = None,
    exclude: Exclude = None,
    licenses: License = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    look: Look = 20.0,
    peer: Peer = None,
    no_web_seeds: NoWebSeeds = False,
    timeout: Timeout = None,
    off: SwitchedOff = (),
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Choose the snapshots that the archive needs most from trusted indexes, and fetch them; a running node seeds them.

    Neediest first; each node breaks near-ties in its own way, always the same. The plan gives a reason for every
    snapshot, chosen or not. It stays within the budget and leaves the disks' reserves free.
    """
    from p2pqwen.assembly.archive_answer import AdoptAnswer
    from p2pqwen.operations.archive.adopt import Wishes

    size = parse_size(budget)
    network = Network(peers=tuple(peer or ()), web_seeds=not no_web_seeds, timeout=timeout, off=off)
    with Output(as_json=json_output, quiet=quiet) as out:
        with open_archiver(network, out) as archiver:
            done = archiver.adopt(
                Wishes(tuple(prefer or ()), tuple(exclude or ()), tuple(licenses or ())),
                size,
                seconds=look,
                dry_run=dry_run,
                show=lambda plan: _show(plan, out),
            )
        if out.as_json:  # an answer has an object for each snapshot, which only JSON needs
            out.result(AdoptAnswer.of(done, dry_run=dry_run), ())
        else:
            out.lines(_lines(done, dry_run=dry_run))
    exit_for([one.error for one in done.fetched])


def _show(plan: Adoption, out: Output) -> None:
    """Show what will be fetched, and under which licenses, before it is."""
    if not out.as_json:
        out.lines(_plan_lines(plan))
        return
    for line in _chosen_lines(plan):
        out.note(line)


def _chosen_lines(plan: Adoption) -> Iterator[str]:
    for one in plan.chosen:
        yield f"fetch   {decision_line(one, plan.licenses.get(str(one.snapshot)) or 'no license named')}"


def _plan_lines(plan: Adoption) -> Iterator[str]:
    allocation = plan.allocation
    yield from _chosen_lines(plan)
    for one in plan.held:
        yield f"skip    {decision_line(one)}"
    for name, size, reason in allocation.others.plain():
        yield f"skip    {name}  {format_size(size)}  {reason}"
    yield (
        f"{len(plan.chosen)} chosen, {format_size(allocation.size)}; with {format_size(allocation.used)} held that is "
        f"{format_size(allocation.size + allocation.used)} of {format_size(allocation.budget)}"
    )


def _lines(done: Adopted, *, dry_run: bool) -> Iterator[str]:
    """Yield the result of the plan, and for a dry run the plan itself, which `_show` has not shown."""
    if dry_run:
        yield from _plan_lines(done.plan)
        yield "nothing was done (--dry-run)"
    elif done.plan.chosen:
        failed = sum(one.error is not None for one in done.fetched)
        yield f"{len(done.fetched) - failed} fetched and verified, {failed} failed"
