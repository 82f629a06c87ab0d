"""Whether others can reach this session: incoming peers, ports mapped by the router, the size of its DHT.

A port is known to be open only once a peer from outside has come in. libtorrent does not count peers on this machine or
network, since no router is in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

_INCOMING, _DHT_NODES = "net.has_incoming_connections", "dht.dht_nodes"


@dataclass(frozen=True, slots=True)
class Reach:
    """What is known so far. `mapped`: ports opened by a router (UPnP or NAT-PMP); `refusal`: why it opened none.

    `external`: our address as others see it. `dht_nodes` is None without the DHT.
    """

    incoming: bool = False
    dht_nodes: int | None = None
    mapped: tuple[int, ...] = ()
    refusal: str = ""
    external: str = ""

    def with_counters(self, values: Mapping[str, int]) -> Reach:
        """Return a copy with libtorrent's current counters."""
        return replace(self, incoming=bool(values.get(_INCOMING, 0)), dht_nodes=values.get(_DHT_NODES, 0))

    def with_mapping(self, port: int) -> Reach:
        """Return a copy with a port that a router opened."""
        return self if port in self.mapped else replace(self, mapped=(*self.mapped, port))
