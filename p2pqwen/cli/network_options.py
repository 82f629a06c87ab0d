"""Switches of `fetch` and `seed` for everything a session does on the network, over those of config.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.cli.output import Output
    from p2pqwen.operations.indexes.bundle_route import BundleRoute
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.swarm.settings import SwarmSettings

NoDht = Annotated[bool, typer.Option("--no-dht", help="Do not use the DHT.")]
NoLsd = Annotated[bool, typer.Option("--no-lsd", help="Do not look for peers on the local network.")]
NoUpnp = Annotated[bool, typer.Option("--no-upnp", help="Do not ask the router to open a port (UPnP, NAT-PMP).")]
NoTrackers = Annotated[bool, typer.Option("--no-trackers", help="Do not talk to trackers.")]
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


def bundle_route(app: App, out: Output, *, dht: bool, peers: list[str] | None) -> BundleRoute | None:
    """Return the way to publishers' bundles by DHT and peers; None where the DHT is switched off."""
    from p2pqwen.assembly import fetching
    from p2pqwen.swarm.endpoint import Endpoint

    named = tuple(Endpoint.parse(text) for text in peers or ())
    settings = swarm_settings(app, listen=None, off=(not dht, False, True, False), upload_limit=None)
    return fetching.bundle_route(app, settings, out.report, peers=named) if settings.dht else None


def swarm_settings(
    app: App,
    *,
    listen: Endpoint | None,
    off: tuple[bool, bool, bool, bool],
    upload_limit: str | None,
    download_limit: str | None = None,
) -> SwarmSettings:
    """Join config.toml and the switches; `off` is --no-dht, --no-lsd, --no-upnp, --no-trackers in this order."""
    from p2pqwen.swarm.bootstrap import bootstrap_nodes
    from p2pqwen.swarm.settings import SwarmSettings
    from p2pqwen.values.byte_size import parse_rate

    network = app.config.network
    no_dht, no_lsd, no_upnp, no_trackers = off
    return SwarmSettings(
        listen=listen,
        dht=network.dht and not no_dht,
        dht_bootstrap=tuple(str(one) for one in bootstrap_nodes(network.dht_bootstrap)),
        dht_nodes=app.remembered_dht_nodes(),
        lsd=network.lsd and not no_lsd,
        upnp=network.upnp and not no_upnp,
        trackers=network.trackers and not no_trackers,
        lan=network.lan,
        named=app.named_hosts,
        upload_limit=network.upload_limit if upload_limit is None else parse_rate(upload_limit),
        download_limit=network.download_limit if download_limit is None else parse_rate(download_limit),
    )
