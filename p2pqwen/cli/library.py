"""`p2pqwen list` and `p2pqwen remove`: the snapshots this node holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.stewardship.upstream import UpstreamRecord


_STATES = {"changed": "changed, to be verified again"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_snapshots)
    app.command(short_help="Delete a snapshot from the library.")(remove)


def list_snapshots(json_output: JsonFlag = False) -> None:
    """List the snapshots in the library."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.archive.upstream import with_upstream
    from p2pqwen.operations.control.inventory import inventory, inventory_fields
    from p2pqwen.operations.verify.standings import standing_words
    from p2pqwen.values.byte_size import format_size

    with Output(as_json=json_output) as out:
        app = open_app()
        with app.held_standings(out.report) as standings:
            held = inventory(app.library, standings, out.report, riser=app.riser)
        known = app.upstream_records(out.report)
        width = max((len(str(one.id)) for one in held), default=0)
        lines = [
            f"{one.id!s:<{width}}  {format_size(one.size):>8}  {_STATES.get(one.state, one.state)}"
            f"  {standing_words(one.stood)}"
            f"{_hazard(one.hazards)}{_gone(known.get(one.id))}"
            for one in held
        ]
        out.result(
            {"snapshots": with_upstream(inventory_fields(held), known)},
            lines or ["the library is empty; `p2pqwen preserve REPO` or `p2pqwen fetch TARGET` fills it"],
        )


def _hazard(count: int) -> str:
    return f"  hazard: {count} pickle-format file(s)" if count else ""


def _gone(record: UpstreamRecord | None) -> str:
    from p2pqwen.operations.archive.upstream import gone_words

    words = gone_words(record)
    return f"  {words}" if words else ""


def remove(
    target: Annotated[str, typer.Argument(metavar="REPO[@COMMIT]", help="The snapshot to delete.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Delete a snapshot from the library; copies in the Hugging Face cache stay."""
    import sys

    from p2pqwen.app import open_app
    from p2pqwen.errors import P2pqwenError, UsageError
    from p2pqwen.library.folders import AwayError
    from p2pqwen.operations.verify.target import held_snapshot

    with Output(as_json=json_output) as out:
        app = open_app()
        try:
            held = held_snapshot(target, app.library)
            name, where, words = str(held.id), held.folder, "removed {}"
        except AwayError as error:
            name, where, words = str(error.snapshot), None, "forgot {}; its files stay on the disk that is not here"
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"nobody to ask whether to delete {name}", hint="say --yes")
            question = f"Delete {name} ({where})?" if where else f"Forget {name}, whose disk is not here?"
            if not out.confirm(question):
                raise P2pqwenError(f"{name} stays: it was not confirmed")
        running = app.running()
        if running is not None:
            done = running.call("POST", "/v1/snapshots/remove", {"target": name})
        else:
            with app.state_store(out.report) as store:
                done = app.snapshot_calls(store).remove({"target": name})
        out.result(done, [words.format(name)])
