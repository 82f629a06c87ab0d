"""Enter the DHT through bootstrap hosts and nodes that answered before; remember those that answer now."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from p2pqwen.errors import DiskError
from p2pqwen.library.known_peers import UNKNOWN_ID, KnownPeers
from p2pqwen.swarm.dht import LOOKUP_SECONDS, Dht
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import Contact
from p2pqwen.swarm.krpc_client import QUERIES_PER_SECOND, KrpcClient


@dataclass(frozen=True, slots=True)
class DhtAccess:
    """Where lookups begin. `seconds` bounds each lookup, `rate` the queries a second of all lookups together."""

    bootstrap: tuple[Endpoint, ...]
    known: KnownPeers
    seconds: float = LOOKUP_SECONDS
    rate: float = QUERIES_PER_SECOND

    def by(self, nodes: tuple[Endpoint, ...]) -> DhtAccess:
        """Return a copy with more nodes to begin with: a session's, or peers, which are often nodes as well."""
        return replace(self, bootstrap=tuple(dict.fromkeys((*nodes, *self.bootstrap))))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Dht]:
        """Open a client for a few requests."""
        remembered = [_start(identity, Endpoint(*address)) for identity, address in self.known.dht_nodes()]
        client = KrpcClient(rate=self.rate)
        async with Dht([*self.bootstrap, *remembered], seconds=self.seconds, client=client) as dht:
            try:
                yield dht
            finally:
                with contextlib.suppress(DiskError):  # it only costs time at the next start
                    self.known.remember_dht_nodes(
                        (one.id, (one.endpoint.host, one.endpoint.port)) for one in dht.good_nodes
                    )


def _start(identity: bytes, endpoint: Endpoint) -> Contact | Endpoint:
    return endpoint if identity == UNKNOWN_ID else Contact(identity, endpoint)
