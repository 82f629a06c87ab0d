"""`p2pqwen seed`: the node, in the foreground."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from p2pqwen.cli.network_options import NoDht, NoLsd, NoTrackers, NoUpnp, UploadLimit, swarm_settings
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(seed)


def seed(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Accept peers here (default 0.0.0.0:6881; port 0: any free one)."),
    ] = None,
    upload_limit: UploadLimit = None,
    no_dht: NoDht = False,
    no_lsd: NoLsd = False,
    no_upnp: NoUpnp = False,
    no_trackers: NoTrackers = False,
    json_output: JsonFlag = False,
) -> None:
    """Serve every complete snapshot of the library to others, until it is stopped (Ctrl-C or SIGTERM).

    With --json one JSON event per line: listening, checking, seeding, damaged, mended, skipped,
    removed, stats, stopped.
    """
    from p2pqwen.node import open_node
    from p2pqwen.operations.seed import seed as seed_library
    from p2pqwen.swarm.endpoint import Endpoint

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Output(as_json=json_output) as out:
        node = open_node()
        endpoint = Endpoint.parse(listen or node.config.network.listen, allow_port_zero=True)
        off = (no_dht, no_lsd, no_upnp, no_trackers)
        settings = swarm_settings(node, listen=endpoint, off=off, upload_limit=upload_limit)
        seed_library(node.library, node.home, settings, report=out.report, stopping=stop.is_set)
