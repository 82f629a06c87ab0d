"""Running nodes for tests: on loopback, without discovery."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.command import CommandLine
from tests.support.processes import Process, p2pqwen, running

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
CONFIG = '[network]\ndht = false\nlsd = false\nupnp = false\ntrackers = false\nweb_seeds = "never"\n'


def quiet_config(user: CommandLine, more: str = "") -> None:
    """Switch discovery off for every command of this user."""
    user.home.mkdir(parents=True, exist_ok=True)
    (user.home / "config.toml").write_text(CONFIG + more)


@contextlib.contextmanager
def seeding(user: CommandLine, *options: str | Path) -> Iterator[tuple[Process, int]]:
    """Run this user's node and yield it with its port."""
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET, *options), user.environment) as node:
        yield node, node.json_line(30, containing='"listening"')["port"]


def row(user: CommandLine, commit: str) -> dict[str, Any]:
    """Return the snapshot's row in `status`."""
    rows = user.ok("status")["snapshots"]
    return next((one for one in rows if one["commit"] == commit), {})
