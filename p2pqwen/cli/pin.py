"""`p2pqwen pin`: keep a snapshot whatever happens."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pin)


def pin(targets: Targets, json_output: JsonFlag = False) -> None:
    """Keep a snapshot: neither `rebalance` nor `remove` deletes it before `unpin`."""
    change_all("pin", targets, "pinned {}", json_output=json_output)
