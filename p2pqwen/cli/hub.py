"""`p2pqwen hub`: a Hub endpoint for programs that follow HF_ENDPOINT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2pqwen.cli.network_options import EndpointPeer, NoUpstream, SwitchedOff, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.stopping import stop_on_signals, wait_until_stopped

DEFAULT_LISTEN = "127.0.0.1:8080"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(hub)


@network_switches()
def hub(
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help=f"Address to answer on (default {DEFAULT_LISTEN}; port 0: any free one)."
        ),
    ] = None,
    peer: EndpointPeer = None,
    no_upstream: NoUpstream = False,
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Allow --listen on an address that other machines reach.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the token that requests from other machines must carry."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK…", help="Networks whose machines need no token, such as 192.168.1.0/24."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME…", help="Names by which other machines call this one, such as nas.local."),
    ] = None,
    off: SwitchedOff = (),
    json_output: JsonFlag = False,
) -> None:
    """Answer as the Hugging Face Hub does, until it is stopped (Ctrl-C or SIGTERM).

    Files come from the library; what a trusted index lists and the library lacks comes from peers and web seeds while
    it is read, and is kept. Point programs here with HF_ENDPOINT=http://127.0.0.1:8080, or start one with
    `p2pqwen run -- COMMAND…`. One line with the URL is printed when it is ready.
    With --json one JSON event per line: hub.
    """
    from dataclasses import replace

    from p2pqwen.app import open_app
    from p2pqwen.assembly.hub_serving import configured, hub_endpoint, read_access
    from p2pqwen.swarm.endpoint import Endpoint

    stop = stop_on_signals()
    with Output(as_json=json_output) as out:
        app = open_app()
        config, choices = app.config.hub_endpoint, network_choices(app, off)
        wishes = configured(app, choices, listen=listen or config.listen or DEFAULT_LISTEN)
        assert wishes is not None  # noqa: S101 - `listen` is given
        wishes = replace(
            wishes,
            access=read_access(token_file or config.token_file, allow or config.allow, host or config.hosts),
            beyond=wishes.beyond or beyond_loopback,
            peers=(*(Endpoint.parse(text) for text in peer or ()), *wishes.peers),
            upstream="never" if no_upstream else wishes.upstream,
        )
        with app.state_store(out.report) as store, hub_endpoint(app, store, wishes, out.report) as endpoint:
            if not json_output:
                out.note(f"for programs: export HF_ENDPOINT={endpoint.url}; Ctrl-C stops it")
            wait_until_stopped(stop)
