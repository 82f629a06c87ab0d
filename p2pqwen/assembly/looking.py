"""How an app gathers facts about its node's snapshots and about swarms."""

from __future__ import annotations

from p2pqwen.app import App
from p2pqwen.operations.archive.swarm_probe import Probes
from p2pqwen.operations.node.state import SnapshotState, node_status
from p2pqwen.values.network_choices import NetworkChoices


def own_rows(app: App) -> list[SnapshotState]:
    """Return the snapshots of the running node as it sees them, none if no node runs."""
    running, rows = node_status(app.library, app.home)
    return rows if running is not None else []


def probes(app: App, choices: NetworkChoices, *, web_seeds: bool = True) -> Probes:
    """Return whom to ask about swarms, as these choices and the configuration allow."""
    return Probes(
        app.dht(enabled=choices.dht),
        trackers=choices.trackers and app.config.network.bittorrent_proxy is None,  # scrapes would bypass it
        web_seeds=web_seeds and app.config.network.web_seeds != "never",
        named=app.named_hosts,
    )
