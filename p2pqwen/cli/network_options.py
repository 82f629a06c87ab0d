"""Flags for what a session does on the network, which override config.toml; each is declared once for all commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.values.network_choices import SWITCHES, NetworkChoices, Switch

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.cli.output import Output
    from p2pqwen.operations.indexes.bundle_route import BundleRoute

SWITCH_HELP: Mapping[Switch, str] = {
    "dht": "Do not use the DHT.",
    "lsd": "Do not look for peers on the local network.",
    "upnp": "Do not ask the router to open a port (UPnP, NAT-PMP).",
    "trackers": "Do not talk to trackers.",
}
SwitchedOff = tuple[Switch, ...]
"""The parameter of a command with `network_switches`: the switches whose `--no-…` flag was given."""
NoDht = Annotated[bool, typer.Option("--no-dht", help=SWITCH_HELP["dht"])]
UploadLimit = Annotated[
    str | None, typer.Option(metavar="RATE", help="Upload no faster than this, such as 2MB/s (0: no limit).")
]
DownloadLimit = Annotated[
    str | None, typer.Option(metavar="RATE", help="Download no faster than this, such as 20MB/s (0: no limit).")
]


PeerOption = Annotated[
    list[str] | None,
    typer.Option("--peer", metavar="HOST:PORT…", help="Ask this node of the publisher, or of a follower, directly."),
]
EndpointPeer = Annotated[
    list[str] | None,
    typer.Option("--peer", metavar="HOST:PORT…", help="Ask this peer directly for what the library lacks."),
]
NoUpstream = Annotated[bool, typer.Option("--no-upstream", help="Do not ask the Hub itself for what nobody else has.")]


def network_switches(*switches: Switch) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's `off: SwitchedOff` by the `--no-…` flags of these switches, of all by default.

    Typer reads a command's signature, so the flags are put into it in place of `off`.
    """
    flags = {f"no_{switch}": switch for switch in switches or SWITCHES}

    def add_flags(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_flags(**options: Any) -> None:  # noqa: ANN401 - the command's own options
            command(off=tuple(switch for flag, switch in flags.items() if options.pop(flag)), **options)

        given = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for one in given.parameters.values():
            parameters += [_flag(*flag) for flag in flags.items()] if one.name == "off" else [one]
        with_flags.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_flags

    return add_flags


def _flag(name: str, switch: Switch) -> inspect.Parameter:
    option = Annotated[bool, typer.Option(f"--no-{switch}", help=SWITCH_HELP[switch])]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=option)


def network_choices(
    app: App, off: SwitchedOff, *, upload_limit: str | None = None, download_limit: str | None = None
) -> NetworkChoices:
    """Return the choices of config.toml as overridden by the flags; raises `UsageError` for an invalid rate."""
    from p2pqwen.values.byte_size import parse_rate

    return app.config.network.choices.without(*off).limited(
        upload=None if upload_limit is None else parse_rate(upload_limit),
        download=None if download_limit is None else parse_rate(download_limit),
    )


def bundle_route(app: App, out: Output, *, dht: bool, peers: list[str] | None) -> BundleRoute | None:
    """Return the route to publishers' bundles through DHT and peers; None if the DHT is switched off."""
    from p2pqwen.swarm.endpoint import Endpoint

    named = tuple(Endpoint.parse(text) for text in peers or ())
    choices = app.config.network.choices.without("upnp")
    if not (dht and choices.dht):
        return None
    from p2pqwen.assembly import fetching  # imports libtorrent, which an update without the DHT does not need

    return fetching.bundle_route(app, fetching.swarm_settings(app, choices), out.report, peers=named)
