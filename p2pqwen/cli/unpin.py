"""`p2pqwen unpin`: let a pinned snapshot be deleted again."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(unpin)


def unpin(targets: Targets, json_output: JsonFlag = False) -> None:
    """Let a pinned snapshot be given up or removed again."""
    change_all("unpin", targets, "unpinned {}", json_output=json_output)
