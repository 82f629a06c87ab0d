"""A DHT of real libtorrent nodes on loopback, each with its own address in its own /24 network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import libtorrent as lt

from p2pqwen.swarm.endpoint import Endpoint
from tests.support.waiting import wait_until

_MASK = lt.alert.category_t.status_notification | lt.alert.category_t.dht_notification
READY_SECONDS = 30.0


class LibtorrentNode:
    """One node: a session that does nothing but serve the DHT."""

    def __init__(self, host: str, port: int = 0) -> None:
        self.session = lt.session(
            {
                "listen_interfaces": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                "enable_dht": True,
                "dht_bootstrap_nodes": "",
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                # All nodes are on one machine, so limits per address would only hinder.
                "dht_restrict_routing_ips": False,
                "dht_restrict_search_ips": False,
                "dht_enforce_node_id": False,
                "dht_block_ratelimit": 100_000,
                "dht_upload_rate_limit": 1_000_000,
                "alert_mask": int(_MASK),
            }
        )
        self.endpoint: Endpoint = wait_until(self._listening, 10, f"a DHT node at {host}")

    def know(self, other: Endpoint) -> None:
        self.session.add_dht_node((other.host, other.port))

    @property
    def known(self) -> int:
        self.session.post_session_stats()

        def stats() -> int | None:
            found = [one for one in self.session.pop_alerts() if isinstance(one, lt.session_stats_alert)]
            return found[-1].values["dht.dht_nodes"] + 1 if found else None

        return wait_until(stats, 10, "a DHT node's figures") - 1

    def close(self) -> None:
        del self.session

    def _listening(self) -> Endpoint | None:
        for alert in self.session.pop_alerts():
            if isinstance(alert, lt.listen_succeeded_alert) and alert.socket_type == lt.socket_type_t.udp:
                return Endpoint(str(alert.address), alert.port)
        return None


@contextlib.contextmanager
def libtorrent_dht(count: int = 6, *, ipv6: bool = False) -> Iterator[list[LibtorrentNode]]:
    """Run `count` nodes that know one another; over IPv6 all of them share ::1."""
    nodes = [LibtorrentNode("::1" if ipv6 else f"127.0.{number}.1") for number in range(1, count + 1)]
    try:
        introduce(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.close()


def introduce(nodes: list[LibtorrentNode]) -> None:
    """Have every node know enough of the others."""
    enough = min(3, len(nodes) - 1)

    def ready() -> bool:
        for node in nodes:
            if node.known < enough:
                for other in nodes:
                    if other is not node:
                        node.know(other.endpoint)
        return all(node.known >= enough for node in nodes)

    wait_until(ready, READY_SECONDS, "a DHT of nodes that know one another")
