"""The composition root: builds each adapter once, when asked, from the configuration, and hands it to operations."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from p2pqwen.config import Config, load
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.signing.keys import PublicKey
from p2pqwen.values.digest import Sha256

if TYPE_CHECKING:
    from p2pqwen.events import Report
    from p2pqwen.hub.cache import HubCache
    from p2pqwen.hub.client import HubClient
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.operations.dht_access import DhtAccess
    from p2pqwen.operations.fetch import FetchPlaces
    from p2pqwen.operations.scrub import Scrubber
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.swarm.settings import SwarmSettings


class Node:
    """One node: its configuration and the adapters around it."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def home(self) -> Home:
        """The node's folders."""
        return self.config.home

    @cached_property
    def library(self) -> Library:
        """The snapshots it holds."""
        return Library(self.config.home)

    @cached_property
    def keys(self) -> KeyStore:
        """The publisher whose keys this home holds, if there is one."""
        return KeyStore(self.config.home)

    @cached_property
    def trust(self) -> TrustStore:
        """The publishers it trusts."""
        return TrustStore(self.config.home)

    @cached_property
    def bundles(self) -> BundleStore:
        """The published sites it holds as torrents."""
        return BundleStore(self.config.home)

    @cached_property
    def pointers(self) -> PointerStore:
        """The signed DHT items it keeps alive."""
        return PointerStore(self.config.home)

    @cached_property
    def known_peers(self) -> KnownPeers:
        """Peers and DHT nodes that answered before."""
        return KnownPeers(self.config.home.known_peers)

    def remembered_dht_nodes(self) -> tuple[Endpoint, ...]:
        """Return DHT nodes that answered before."""
        from p2pqwen.swarm.endpoint import Endpoint

        return tuple(Endpoint(*address) for _, address in self.known_peers.dht_nodes())

    def dht(self, *, enabled: bool = True, also: tuple[Endpoint, ...] = ()) -> DhtAccess | None:
        """Return the way into the DHT, by `also` too; None where it is switched off."""
        from p2pqwen.operations.dht_access import DhtAccess
        from p2pqwen.swarm.bootstrap import bootstrap_nodes

        network = self.config.network
        if not (enabled and network.dht):
            return None
        return DhtAccess((*also, *bootstrap_nodes(network.dht_bootstrap)), self.known_peers)

    def known_keys(self) -> dict[Sha256, PublicKey]:
        """Return the keys that may sign torrents for this home's publisher and for the trusted ones."""
        roots = [one.root for one in self.trust.publishers(now=datetime.now(UTC)) if one.root is not None]
        if self.keys.exists:
            roots.append(self.keys.root())
        return {keyid: key for root in roots for keyid, key in root.public_keys(INDEX_ROLE).items()}

    @cached_property
    def hub(self) -> HubClient:
        """The Hugging Face Hub."""
        from p2pqwen.hub.client import HubClient

        return HubClient(self.config.hub.endpoint, self.config.hub.token)

    @cached_property
    def hub_cache(self) -> HubCache:
        """The local Hugging Face cache."""
        from p2pqwen.hub.cache import HubCache

        return HubCache(self.config.hub.cache)

    def fetch_places(self, network: SwarmSettings, report: Report) -> FetchPlaces:
        """Say where a fetch reads and writes, and whom it believes at this moment."""
        from p2pqwen.operations.fetch import FetchPlaces
        from p2pqwen.operations.fetch_plan import Sources
        from p2pqwen.webseed.upstream import HubAccess

        publishers = self.trust.publishers(now=datetime.now(UTC), report=report)
        return FetchPlaces(
            home=self.home,
            sources=Sources(self.library, publishers, self.known_keys()),
            hub_cache=self.hub_cache,
            hub=HubAccess(self.config.hub.endpoint, self.config.hub.token),
            network=network,
            web_seed_bases=self.config.web_seed_bases,
        )

    def state_store(self, report: Report) -> StateStore:
        """Open what this node remembers between runs; the caller closes it."""
        from p2pqwen.library.state_store import StateStore

        return StateStore(self.home.state, report)

    def scrubber(self, store: StateStore, report: Report) -> Scrubber:
        """Look for bit rot in the library."""
        from p2pqwen.library.verified import VerifiedFiles
        from p2pqwen.operations.scrub import Scrubber

        return Scrubber(self.library, VerifiedFiles(self.home), store, report=report)


def open_node() -> Node:
    """Build a node from the environment and the home's config.toml; raises `UsageError`."""
    return Node(load())
