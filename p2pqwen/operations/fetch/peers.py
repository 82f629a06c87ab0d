"""The peers that a fetch may ask: those of the user, of links and of earlier fetches, and a publisher's followers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from p2pqwen.containment import each
from p2pqwen.errors import DiskError
from p2pqwen.library.known_peers import MAX_DHT_NODES, UNKNOWN_ID
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.plan import FetchPlan
from p2pqwen.operations.indexes.lookup import find_entries
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm

MAX_NAMED_PEERS = 32
"""Most peers of a magnet link (`x.pe`) to try."""
MAX_FOLLOWERS = 30
"""Most peers of its publishers' bundles to try."""


class PeerBook:
    """Finds and remembers peers for one fetch; with `--only-web-seeds` there are none."""

    def __init__(self, options: FetchOptions, context: FetchContext) -> None:
        self._options, self._context = options, context

    def named(self, plan: FetchPlan) -> list[Endpoint]:
        """Return the peers that the user named, and those of a link that are not on this machine or its network."""
        return [*self._options.peers, *self._of_link(plan)]

    def _of_link(self, plan: FetchPlan) -> Iterator[Endpoint]:
        named = plan.leads.peers[:MAX_NAMED_PEERS] if self._options.use_peers else ()
        # Resolve once: the address that is checked must be the one that is used. Names without an address are dropped.
        address_of = self._context.network.address_of
        for peer in each(named, lambda text: address_of(Endpoint.parse(text)), failed=lambda *_: None):
            if not peer.is_private:
                yield peer

    def remembered(self, plan: FetchPlan) -> list[Endpoint]:
        """Return peers of earlier fetches of this torrent; the address filter applies to them as to all others."""
        if plan.v1 is None or not self._options.use_peers:
            return []
        return [Endpoint(*address) for address in self._context.known.peers(plan.v1.raw)]

    def followers(self, plan: FetchPlan) -> list[Endpoint]:
        """Return peers that may seed it, because they follow its publisher; needs neither tracker nor DHT."""
        sources, infohash = self._context.sources, plan.v2 or plan.v1
        if sources.bundles is None or infohash is None or not self._options.use_peers:
            return []
        listing = {one.publisher.publisher for one in find_entries(sources.publishers, infohash)}
        followers = sources.bundles.route().followers(listing) if listing else []
        return list(dict.fromkeys(followers))[:MAX_FOLLOWERS]

    def remember(self, plan: FetchPlan, peers: Sequence[Endpoint]) -> None:
        """Remember the peers that were connected for this torrent."""
        if plan.v1 is not None:
            with suppress(DiskError):  # a failure only costs time in the next fetch
                self._context.known.remember_peers(plan.v1.raw, [(one.host, one.port) for one in peers])

    def remember_dht(self, swarm: Swarm) -> None:
        """Remember the DHT nodes that a session has met."""
        nodes = swarm.dht_nodes() if self._context.network.choices.dht else []
        known = {address for _, address in self._context.known.dht_nodes()}
        fresh = [(one.host, one.port) for one in nodes if (one.host, one.port) not in known]
        with suppress(DiskError):
            self._context.known.remember_dht_nodes((UNKNOWN_ID, address) for address in fresh[: MAX_DHT_NODES // 2])
