"""`p2pqwen resume`: resume a paused snapshot."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(resume)


def resume(targets: Targets, json_output: JsonFlag = False) -> None:
    """Resume a paused snapshot."""
    change_all("resume", targets, "resumed {}", json_output=json_output)
