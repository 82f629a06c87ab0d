"""`p2pqwen pause` and `resume`: neither fetch nor serve a snapshot, and go on."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(short_help="Neither fetch nor serve a snapshot until `resume`.")(pause)
    app.command()(resume)


def pause(targets: Targets, json_output: JsonFlag = False) -> None:
    """Neither fetch nor serve a snapshot until `resume`, across restarts."""
    change_all("pause", targets, "paused {}", json_output=json_output)


def resume(targets: Targets, json_output: JsonFlag = False) -> None:
    """Resume a paused snapshot."""
    change_all("resume", targets, "resumed {}", json_output=json_output)
