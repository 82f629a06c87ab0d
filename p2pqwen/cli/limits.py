"""`p2pqwen limits`: how fast, when, and how much a month this home transfers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.operations.node.limits import LimitsAnswer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(limits)


def limits(
    upload: Annotated[str | None, typer.Option(metavar="RATE", help="Such as 2MB/s; 0: no limit.")] = None,
    download: Annotated[str | None, typer.Option(metavar="RATE", help="Such as 20MB/s; 0: no limit.")] = None,
    month: Annotated[
        str | None,
        typer.Option("--monthly-upload", metavar="SIZE", help="Such as 500GB: send no more a month; 0: no limit."),
    ] = None,
    hours: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM,…|always", help="Transfer only in these hours of the day.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Show the limits, or change them; they apply to every fetch and to the node, at once and across restarts."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing

    with Output(as_json=json_output) as out:
        rates = {name: _meant(rate, out) for name, rate in (("upload", upload), ("download", download))}
        given = {**rates, "monthly_upload": month, "hours": hours}
        done = changing.change_limits(open_app(), given, out.report)
        out.result(done, _limit_lines(done))


def _meant(rate: str | None, out: Output) -> str | None:
    """Return the rate; for a small number without a unit, ask on a terminal which rate is meant."""
    from p2pqwen.values.byte_size import BareRateError, parse_rate

    try:
        if rate is not None:
            parse_rate(rate)
    except BareRateError as error:
        if out.as_json or not sys.stdin.isatty() or not out.confirm(f"Is {error.meant} meant?", default=True):
            raise
        return error.meant
    return rate


def _limit_lines(done: LimitsAnswer) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    lines = done.limits.lines()
    lines.append(f"used      {format_size(done.uploaded_this_month)} sent this month")
    if done.reason:
        lines.append(f"now       {done.reason}")
    return lines
