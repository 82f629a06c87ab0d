"""`p2pqwen pause`, `resume`, `priority`, `pin`, `unpin` and `limits`: what the node may do, now and from now on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

Target = Annotated[
    str, typer.Argument(metavar="REPO[@COMMIT]", help="A snapshot of the library, or one being fetched.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(short_help="Neither fetch nor serve a snapshot until `resume`.")(pause)
    app.command()(resume)
    app.command(short_help="Say which snapshots go first.")(priority)
    app.command(short_help="Keep a snapshot until `unpin`, whatever happens.")(pin)
    app.command()(unpin)
    app.command(short_help="Show or change rates, hours and the monthly quota.")(limits)


def pause(target: Target, json_output: JsonFlag = False) -> None:
    """Neither fetch nor serve a snapshot until `resume`, across restarts."""
    _snapshot("pause", {"target": target}, "paused {}", json_output=json_output)


def resume(target: Target, json_output: JsonFlag = False) -> None:
    """Let a paused snapshot go on."""
    _snapshot("resume", {"target": target}, "resumed {}", json_output=json_output)


def priority(
    target: Target,
    level: Annotated[str, typer.Argument(metavar="high|normal|low", help="Who goes first.")],
    json_output: JsonFlag = False,
) -> None:
    """Say who is fetched first; a low one is served to two peers at a time."""
    _snapshot("priority", {"target": target, "priority": level}, "priority of {}: " + level, json_output=json_output)


def pin(target: Target, json_output: JsonFlag = False) -> None:
    """Keep a snapshot whatever happens: neither `rebalance` nor `remove` takes it away before `unpin`."""
    _snapshot("pin", {"target": target}, "pinned {}", json_output=json_output)


def unpin(target: Target, json_output: JsonFlag = False) -> None:
    """Let a pinned snapshot be given up or removed again."""
    _snapshot("unpin", {"target": target}, "unpinned {}", json_output=json_output)


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
    """Show the limits, or change them; they hold for every fetch and for the app, at once and across restarts."""
    from p2pqwen.app import open_app

    given = {"upload": upload, "download": download, "monthly_upload": month, "hours": hours}
    with Output(as_json=json_output) as out:
        app = open_app()
        running = app.running()
        if running is not None:
            done = running.call("PUT", "/v1/limits", given)
        else:
            with app.state_store(out.report) as store:
                done = app.snapshot_calls(store).limits(given)
        out.result(done, _limit_lines(done))


def _snapshot(verb: str, given: dict[str, Any], words: str, *, json_output: bool) -> None:
    from p2pqwen.app import open_app

    with Output(as_json=json_output) as out:
        app = open_app()
        running = app.running()
        if running is not None:
            done = running.call("POST", f"/v1/snapshots/{verb}", given)
        else:
            with app.state_store(out.report) as store:
                calls = app.snapshot_calls(store)
                here = {
                    "pause": calls.pause,
                    "resume": calls.resume,
                    "priority": calls.prioritise,
                    "pin": calls.pin,
                    "unpin": calls.unpin,
                }
                done = here[verb](given)
        out.result(done, [words.format(f"{done['repo']}@{done['commit']}")])


def _limit_lines(done: dict[str, Any]) -> list[str]:
    from p2pqwen.operations.node.limits import Limits
    from p2pqwen.values.byte_size import format_size

    lines = Limits.from_json(done).lines()
    lines.append(f"used      {format_size(done['uploaded_this_month'])} sent this month")
    if done["reason"]:
        lines.append(f"now       {done['reason']}")
    return lines
