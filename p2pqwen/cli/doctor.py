"""`p2pqwen doctor`: check what a node needs, with advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import exit_codes
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.table import columns
from p2pqwen.cli.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2pqwen.operations.control.doctor import Finding


_MARGIN = 18
"""Columns before a finding's detail."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what needs attention, for cron.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(quiet: Quiet = False, json_output: JsonFlag = False) -> None:
    """Check port, DHT, Hub, clock, index, disks, rot, limits and permissions; exit 0 if all is well, else 1."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly.examining import doctor_context
    from p2pqwen.operations.control.doctor import Findings, examine

    with Output(as_json=json_output) as out:
        found = []
        for finding in examine(doctor_context(open_app(), out.report)):
            found.append(finding)
            if not (json_output or (quiet and finding.ok)):
                out.lines(_lines(finding))
        bad = sum(not one.ok for one in found)
        if json_output:
            out.result(Findings(not bad, tuple(found)), ())
        elif not quiet:
            out.lines(["", f"{bad} of {len(found)} need attention" if bad else "all is well"])
    if bad:
        raise typer.Exit(exit_codes.FAILED)


def _lines(finding: Finding) -> Iterator[str]:
    width = columns()
    yield from wrapped(
        f"{'ok ' if finding.ok else 'BAD'}  {finding.check:11}  {finding.detail}", width, hanging=_MARGIN
    )
    if finding.advice:
        yield from wrapped(f"{'':{_MARGIN}}→ {finding.advice}", width, hanging=0)
