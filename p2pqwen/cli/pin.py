"""`p2pqwen pin` and `unpin`: keep a snapshot whatever happens."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.preference import Targets, change_all


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(short_help="Keep a snapshot until `unpin`, whatever happens.")(pin)
    app.command()(unpin)


def pin(targets: Targets, json_output: JsonFlag = False) -> None:
    """Keep a snapshot whatever happens: neither `rebalance` nor `remove` deletes it before `unpin`."""
    change_all("pin", targets, "pinned {}", json_output=json_output)


def unpin(targets: Targets, json_output: JsonFlag = False) -> None:
    """Let a pinned snapshot be given up or removed again."""
    change_all("unpin", targets, "unpinned {}", json_output=json_output)
