"""`p2pqwen service`: a node that systemd starts with the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.operations.node.service import UnitState

app = typer.Typer(help="Run the node as a systemd user service.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="service")


@app.command()
def install(
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- SEED_OPTION", help="For `p2pqwen seed`, such as -- --listen 0.0.0.0:7000."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Have it adopt what the archive needs most, by itself, up to this much in all."
        ),
    ] = None,
    upload: Annotated[
        str | None, typer.Option("--upload", metavar="RATE", help="Have it upload no faster than this, such as 1MB/s.")
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now, too.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Write a systemd user unit for this home's node, and start it.

    With --budget it needs no attention: it adopts, plans again as health changes, and continues after sleep, in another
    network, and when a full disk has room again. Without systemd, it prints a cron line that does the same. Other
    settings belong in config.toml; a token for the Hub is not written into the unit.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly import serving
    from p2pqwen.operations.node.service import install as install_service
    from p2pqwen.values.byte_size import parse_rate, parse_size

    with Output(as_json=json_output) as out:
        app = open_app()
        if budget is not None:
            parse_size(budget)  # refuse here what `seed` would refuse
        if upload is not None:
            parse_rate(upload)
        given = [*_option("--budget", budget), *_option("--upload-limit", upload), *(options or [])]
        _check_options(given)
        _show(out, install_service(serving.service(app), given, start=start), "installed")


@app.command()
def uninstall(json_output: JsonFlag = False) -> None:
    """Stop the service and remove its unit; the library stays."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import serving
    from p2pqwen.operations.node.service import uninstall as uninstall_service

    with Output(as_json=json_output) as out:
        _show(out, uninstall_service(serving.service(open_app())), "removed")


@app.command()
def status(json_output: JsonFlag = False) -> None:
    """Show whether the unit is installed, enabled and running."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import serving
    from p2pqwen.operations.node.service import unit_state

    with Output(as_json=json_output) as out:
        found = unit_state(serving.service(open_app()))
        _show(out, found, "installed" if found.installed else "not installed")


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]


def _check_options(options: list[str]) -> None:
    """Refuse options that `seed` would refuse, before writing a unit that cannot start."""
    from typer.exceptions import TyperException

    from p2pqwen.cli.seed import seed
    from p2pqwen.errors import UsageError

    command = typer.Typer(add_completion=False)
    command.command()(seed)
    try:
        typer.main.get_command(command).make_context("seed", list(options)).close()
    except TyperException as error:
        raise UsageError(
            f"`p2pqwen seed` does not accept this: {error.format_message()}", hint="see `p2pqwen seed --help`"
        ) from error


def _show(out: Output, found: UnitState, verb: str) -> None:
    words = {True: "yes", False: "no", None: "unknown"}
    out.result(
        found.answer,
        [
            f"unit     {verb}: {found.service.path}",
            f"enabled  {words[found.enabled]}",
            f"running  {words[found.active]}",
            *(f"note     {note}" for note in found.notes),
        ],
    )
