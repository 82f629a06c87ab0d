"""`p2pqwen pause`: neither fetch nor serve a snapshot."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pause)


def pause(targets: Targets, json_output: JsonFlag = False) -> None:
    """Neither fetch nor serve a snapshot until `resume`, across restarts."""
    change_all("pause", targets, "paused {}", json_output=json_output)
