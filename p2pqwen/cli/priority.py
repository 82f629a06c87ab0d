"""`p2pqwen priority`: which snapshots come first."""

from __future__ import annotations

from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Target, change


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(priority)


def priority(
    target: Target,
    level: Annotated[str, typer.Argument(metavar="high|normal|low", help="The priority.")],
    json_output: JsonFlag = False,
) -> None:
    """Set what is fetched first; a snapshot of low priority is served to two peers at a time."""
    change("priority", {"target": target, "priority": level}, "priority of {}: " + level, json_output=json_output)
