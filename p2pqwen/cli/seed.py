"""`p2pqwen seed`: the node, in the foreground."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.network_options import NoDht, NoLsd, NoTrackers, NoUpnp, UploadLimit, swarm_settings
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.webseed.file_server import FileServer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(seed)


def seed(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Accept peers here (default 0.0.0.0:6881; port 0: any free one)."),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve the library over HTTP too, as a web seed (port 0: any free one)."
        ),
    ] = None,
    upload_limit: UploadLimit = None,
    no_dht: NoDht = False,
    no_lsd: NoLsd = False,
    no_upnp: NoUpnp = False,
    no_trackers: NoTrackers = False,
    json_output: JsonFlag = False,
) -> None:
    """Serve every complete snapshot of the library to others, until it is stopped (Ctrl-C or SIGTERM).

    With --http, http://HOST:PORT/ORG/MODEL/ is a web seed (BEP 19) of each snapshot.
    With --json one JSON event per line: listening, http, checking, seeding, damaged, mended, skipped,
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
        seed_library(
            node.library,
            node.home,
            settings,
            web=_web_seed(http, settings.upload_limit),
            report=out.report,
            stopping=stop.is_set,
        )


def _web_seed(http: str | None, rate: int) -> FileServer | None:
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.webseed.file_server import FileServer, ServerLimits

    if http is None:
        return None
    endpoint = Endpoint.parse(http, allow_port_zero=True)
    return FileServer(endpoint.host, endpoint.port, ServerLimits(rate=rate))
