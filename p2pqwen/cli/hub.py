"""`p2pqwen hub`: the Hub's place, for programs that follow HF_ENDPOINT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.network_options import SwitchedOff, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.stopping import stop_on_signals

if TYPE_CHECKING:
    from p2pqwen.server.hub_access import HubAccess

DEFAULT_LISTEN = "127.0.0.1:8080"
MAX_TOKEN = 4096


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Stand in the Hub's place for programs that follow HF_ENDPOINT.")(hub)


@network_switches()
def hub(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to answer on (port 0: any free one).")
    ] = DEFAULT_LISTEN,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="HOST:PORT…", help="Ask this peer directly for what the library lacks."),
    ] = None,
    no_upstream: Annotated[
        bool, typer.Option("--no-upstream", help="Do not ask the Hub itself for what nobody else has.")
    ] = False,
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
    """Answer as the Hugging Face Hub does, from the library, until it is stopped (Ctrl-C or SIGTERM).

    Point programs here with HF_ENDPOINT=http://127.0.0.1:8080, or start one with `p2pqwen run -- COMMAND…`. One line
    with the URL is printed when it is ready. With --json one JSON event per line: hub.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly.hub_serving import HubWishes, hub_endpoint
    from p2pqwen.swarm.endpoint import Endpoint

    stop = stop_on_signals()
    with Output(as_json=json_output) as out:
        app = open_app()
        wishes = HubWishes(
            listen=Endpoint.parse(listen, allow_port_zero=True),
            access=_access(token_file, allow, host),
            beyond=beyond_loopback,
            peers=tuple(Endpoint.parse(text) for text in peer or ()),
            choices=network_choices(app, off),
            upstream=not no_upstream,
        )
        with app.state_store(out.report) as store, hub_endpoint(app, store, wishes, out.report):
            stop.wait()


def _access(token_file: Path | None, allow: list[str] | None, hosts: list[str] | None) -> HubAccess:
    from p2pqwen.server.hub_access import HubAccess, parse_networks

    token = None if token_file is None else _token(token_file)
    return HubAccess(token, parse_networks(allow or ()), frozenset(name.lower() for name in hosts or ()))


def _token(path: Path) -> str:
    from p2pqwen.errors import UsageError
    from p2pqwen.hidden import hide
    from p2pqwen.library import durable

    token = durable.read(path, max_bytes=MAX_TOKEN).decode("utf-8", "replace").strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable():
        raise UsageError(f"{path} holds no token", expected="16 printable ASCII characters or more")
    hide(token)
    return token
