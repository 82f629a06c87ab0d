"""The composition root: builds each adapter from the configuration, once and on demand, and hands it to operations."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from p2pqwen.config.load import load
from p2pqwen.config.settings import Config
from p2pqwen.errors import DiskError
from p2pqwen.events import Notice, ignore
from p2pqwen.hidden import hide
from p2pqwen.library.home import Home
from p2pqwen.values.snapshot_id import OriginName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from p2pqwen.events import Report
    from p2pqwen.hub.cache import HubCache
    from p2pqwen.hub.client import HubClient
    from p2pqwen.index.voice import Voice
    from p2pqwen.library.bundles import BundleStore
    from p2pqwen.library.key_store import KeyStore
    from p2pqwen.library.known_peers import KnownPeers
    from p2pqwen.library.pointer_store import PointerStore
    from p2pqwen.library.snapshots import HeldSnapshot, Library
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.library.torrent_facts import TorrentFacts
    from p2pqwen.library.trust_store import TrustStore
    from p2pqwen.library.xet_hashes import XetHasher
    from p2pqwen.manifest.manifest import Manifest
    from p2pqwen.operations.control.snapshot_calls import SnapshotCalls
    from p2pqwen.operations.indexes.dht_access import DhtAccess
    from p2pqwen.operations.indexes.rise import Riser
    from p2pqwen.operations.indexes.vouchers import Vouchers
    from p2pqwen.operations.preserve.origin import Origin
    from p2pqwen.operations.preserve.origins import Origins
    from p2pqwen.operations.publish.site_pages import SitePages
    from p2pqwen.operations.verify.scrub import Scrubber
    from p2pqwen.operations.verify.standings import Standings, Voices
    from p2pqwen.server.control_client import ControlClient
    from p2pqwen.stewardship.swarm_record import SwarmRecord
    from p2pqwen.stewardship.upstream import UpstreamRecord
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.values.digest import Sha256
    from p2pqwen.values.named_hosts import NamedHosts
    from p2pqwen.values.origin_site import OriginAccess, OriginSite
    from p2pqwen.values.snapshot_id import RepoId, SnapshotId

MOST_TO_NAME = 16 * 10**9
"""Bytes that a fetch reads again to name files in the Hugging Face cache; they are usually still in memory. Files
beyond this limit are named for their own repository only, unless their names were made before."""


class App:
    """One home: its configuration and the adapters around it, each built on first use."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stores: WeakSet[StateStore] = WeakSet()

    @property
    def home(self) -> Home:
        """Its folders."""
        return self.config.home

    @cached_property
    def library(self) -> Library:
        """The snapshots it holds."""
        from p2pqwen.library.snapshots import Library

        return Library(self.config.home, self.config.library.folders, reserve=self.config.library.reserve)

    @cached_property
    def keys(self) -> KeyStore:
        """The publisher whose keys this home holds, if there is one."""
        from p2pqwen.library.key_store import KeyStore

        return KeyStore(self.config.home)

    @cached_property
    def trust(self) -> TrustStore:
        """The publishers it trusts."""
        from p2pqwen.library.trust_store import TrustStore

        return TrustStore(self.config.home, self.configured_hosts)

    @cached_property
    def configured_hosts(self) -> NamedHosts:
        """The hosts that config.toml and the environment name."""
        from p2pqwen.config.hosts import configured_hosts

        return configured_hosts(self.config)

    @property
    def named_hosts(self) -> NamedHosts:
        """The hosts that the user named, in the configuration and as sources of publishers: see `named_hosts.py`."""
        return self.trust.named_hosts

    @cached_property
    def bundles(self) -> BundleStore:
        """The published sites it holds as torrents."""
        from p2pqwen.library.bundles import BundleStore

        return BundleStore(self.config.home)

    @cached_property
    def pointers(self) -> PointerStore:
        """The signed DHT items it keeps alive."""
        from p2pqwen.library.pointer_store import PointerStore

        return PointerStore(self.config.home)

    @cached_property
    def known_peers(self) -> KnownPeers:
        """Peers and DHT nodes that answered before."""
        from p2pqwen.library.known_peers import KnownPeers

        return KnownPeers(self.config.home.known_peers)

    def remembered_dht_nodes(self) -> tuple[Endpoint, ...]:
        """Return DHT nodes that answered before."""
        from p2pqwen.swarm.endpoint import Endpoint

        return tuple(Endpoint(*address) for _, address in self.known_peers.dht_nodes())

    def dht(self, *, enabled: bool = True, also: tuple[Endpoint, ...] = ()) -> DhtAccess | None:
        """Return access to the DHT, entered through `also` too; None if it is switched off."""
        from p2pqwen.operations.indexes.dht_access import DhtAccess
        from p2pqwen.swarm.bootstrap import bootstrap_nodes

        network = self.config.network
        if not (enabled and network.choices.dht) or network.bittorrent_proxy is not None:
            return None  # the DHT uses UDP, which would bypass a proxy
        return DhtAccess((*also, *bootstrap_nodes(network.dht_bootstrap)), self.known_peers)

    @cached_property
    def vouchers(self) -> Vouchers:
        """Whom this home trusts: its own publisher and those it pinned."""
        from p2pqwen.operations.indexes.vouchers import Vouchers

        return Vouchers(self.trust, self.keys)

    @cached_property
    def riser(self) -> Riser:
        """Gives held snapshots the signed torrents that trusted indexes list."""
        from p2pqwen.operations.indexes.rise import Riser

        return Riser(self.library, self.vouchers, self.bundles)

    def voices(self, report: Report = ignore) -> Sequence[Voice]:
        """Return whom this home trusts now. A home that trusts nobody does not load what reads indexes."""
        return self.vouchers.voices(report) if self.home.trusts_somebody else ()

    @contextmanager
    def held_standings(self, report: Report) -> Iterator[Standings]:
        """Open the finder of held snapshots' standings; a home that holds nothing gets no state file for it."""
        if not self.home.state.exists() and not self.library.all():
            yield self.standings(None)
            return
        try:
            store = self.state_store(report)
        except DiskError as error:  # a read-only home: standings are worked out again
            report(Notice("info", error.message))
            yield self.standings(None)
            return
        with store:
            yield self.standings(store)

    def standings(self, store: StateStore | None) -> Standings:
        """Return the finder of held snapshots' standings; `store` None: nothing is remembered."""
        from p2pqwen.operations.verify.standings import Standings

        return Standings(store, self.voices, _read_facts)

    @cached_property
    def hub(self) -> HubClient:
        """The Hugging Face Hub."""
        from p2pqwen.hub.client import HubClient

        config = self.config
        return HubClient(
            config.hub.endpoint, config.hub.token, named=self.configured_hosts, xet_folder=config.home.log / "xet"
        )

    def origins(
        self,
        report: Report,
        *,
        took: Callable[[int], None] = lambda _: None,
        rate: Callable[[], int] = lambda: 0,
    ) -> Origins:
        """Return the Hub and ModelScope as one, in the order that the configuration says.

        `took` receives the byte count of every download as it arrives; `rate` returns the limit in bytes a second, 0
        for none.
        """
        from p2pqwen.hub import git_over_network
        from p2pqwen.hub.client import HubClient
        from p2pqwen.modelscope.client import ModelScopeClient
        from p2pqwen.operations.preserve.origins import Origins

        hub, modelscope, named = self.config.hub, self.config.modelscope, self.configured_hosts
        return Origins(
            HubClient(
                hub.endpoint, hub.token, named=named, took=took, rate=rate, xet_folder=self.config.home.log / "xet"
            ),
            ModelScopeClient(modelscope.endpoint, modelscope.token, git_over_network, named=named, took=took),
            known=partial(self._known_commits, report=report),
            auto=self.config.origin == "auto",
            limited=lambda: bool(rate()),
        )

    def ask_modelscope(self) -> str:
        """Send ModelScope a small request and return its address; raises `P2pqwenError`."""
        from p2pqwen.modelscope.web import ModelScopeWeb

        endpoint = self.config.modelscope.endpoint
        page = {"page_number": "1", "page_size": "1"}
        ModelScopeWeb(endpoint, None, self.configured_hosts).json("/openapi/v1/models", page, "its list of models")
        return endpoint

    def _known_commits(self, repo: RepoId, *, report: Report) -> Iterator[Manifest]:
        from p2pqwen.operations.indexes.known_commits import known_commits

        def shown() -> set[SnapshotId]:
            records = self.upstream_records(report)
            return {snapshot for snapshot, record in records.items() if record.last_present is not None}

        publishers = self.trust.publishers(now=datetime.now(UTC), report=report)
        return known_commits(repo, self.library, publishers, self.vouchers.voices(report), shown, report)

    @property
    def site(self) -> OriginSite:
        """The public addresses of the origins, without the user's token; needs no Hub client."""
        from p2pqwen.hub.hub_site import HubSite
        from p2pqwen.modelscope.site import ModelScopeSite
        from p2pqwen.values.origin_site import Sites

        return Sites(HubSite(self.config.hub.endpoint), ModelScopeSite(self.config.modelscope.endpoint))

    @property
    def access(self) -> OriginAccess:
        """The addresses of the origins, with the user's token for the Hub; raises `UsageError` for a bad token."""
        from p2pqwen.hub.hub_site import HubSite
        from p2pqwen.modelscope.site import ModelScopeSite
        from p2pqwen.values.origin_site import Sites

        hub = HubSite(self.config.hub.endpoint, self.config.hub.token)
        return Sites(hub, ModelScopeSite(self.config.modelscope.endpoint))

    def stand_ins(self, repo: RepoId) -> tuple[str, ...]:
        """Return path seeds of a repository at the other origin; none unless `origin` is `auto`."""
        from p2pqwen.hub.hub_site import HubSite
        from p2pqwen.modelscope.site import ModelScopeSite

        if self.config.origin != "auto":
            return ()
        if repo.kind.origin is OriginName.HUB:
            site = ModelScopeSite(self.config.modelscope.endpoint)
            return (site.today(repo.at(OriginName.MODELSCOPE)),)
        return (HubSite(self.config.hub.endpoint).today(repo.at(OriginName.HUB)),)

    def open_origin(self, endpoint: str, report: Report) -> Origin:
        """Return the origin at an endpoint: all origins, with the user's tokens, if it is the configured Hub."""
        from p2pqwen.hub.client import HubClient

        if endpoint == self.config.hub.endpoint:
            return self.origins(report)
        return HubClient(endpoint, None, named=self.configured_hosts, xet_folder=self.config.home.log / "xet")

    @cached_property
    def hub_cache(self) -> HubCache:
        """The local Hugging Face cache."""
        return self.hub_cache_at(self.config.hub.cache)

    def hub_cache_at(self, root: Path) -> HubCache:
        """Return a Hugging Face cache whose new files are named so that other repositories can use them too."""
        from p2pqwen.hub.cache import HubCache

        hasher = self.xet_hasher

        def named(snapshot: SnapshotId, files: Mapping[Sha256, Path]) -> Mapping[Sha256, str]:
            return self.library.xet_hashes.made(snapshot, files, hasher, most=MOST_TO_NAME)

        return HubCache(root, named)

    @property
    def xet_hasher(self) -> XetHasher:
        """Makes Xet hashes of files."""
        from p2pqwen.hub.xet_hashing import XetHashing

        return XetHashing(self.config.home.log / "xet")

    def running(self) -> ControlClient | None:
        """Return a client of the running node of this home, None if none runs."""
        from p2pqwen.server.address import may_answer

        if not may_answer(self.home.root):
            return None
        from p2pqwen.server.control_client import ControlClient

        client = ControlClient(self.home.root)
        return client if client.answers else None

    def snapshot_calls(self, store: StateStore) -> SnapshotCalls:
        """Return the calls on snapshots and limits that work while no node runs."""
        from p2pqwen.operations.control.snapshot_calls import SnapshotCalls
        from p2pqwen.operations.node.preferences import Choices

        return SnapshotCalls(self.library, Choices(store), removed=self.scrubber(store, ignore).forget)

    def state_store(self, report: Report) -> StateStore:
        """Open the state that this node keeps between runs; the caller closes it."""
        from p2pqwen.library.state_store import StateStore

        store = StateStore(self.home.state, report)
        self._stores.add(store)
        return store

    def upstream_records(self, report: Report) -> Mapping[SnapshotId, UpstreamRecord]:
        """Return what is known of snapshots on the Hub; empty if it was never asked."""
        if not self.home.state.exists():
            return {}
        from p2pqwen.library.upstream_store import UpstreamStore

        try:
            # Closing a second connection in this process would release the first one's locks (fcntl(2)).
            if (opened := next((one for one in tuple(self._stores) if one.is_open), None)) is not None:
                return UpstreamStore(opened).all()
            with self.state_store(report) as store:
                return UpstreamStore(store).all()
        except DiskError as error:
            report(Notice("info", error.message))
            return {}

    def swarm_records(self, report: Report) -> dict[SnapshotId, SwarmRecord]:
        """Return what is remembered of swarms; empty if no swarm was examined."""
        from p2pqwen.library.health_store import HealthStore

        if not self.home.state.exists():
            return {}
        try:
            with self.state_store(report) as store:
                return HealthStore(store).all()
        except DiskError as error:
            report(Notice("info", error.message))
            return {}

    def site_pages(self, now: datetime, report: Report, *, mirror_tree: bool | None = None) -> SitePages:
        """Return the writer of a published site's pages; `mirror_tree` None keeps the site's previous choice."""
        from p2pqwen.operations.publish.site_pages import SitePages

        return SitePages(self.home, self.library, self.swarm_records(report), now, mirror_tree)

    def scrubber(self, store: StateStore, report: Report) -> Scrubber:
        """Return the scrubber, which looks for bit rot in the library."""
        from p2pqwen.library.verified import VerifiedFiles
        from p2pqwen.operations.verify.scrub import Scrubber

        every = self.config.library.scrub_every
        return Scrubber(self.library, VerifiedFiles(self.home), store, every, report)


def open_app() -> App:
    """Build an app from the environment and the home's config.toml; raises `UsageError`.

    A home that other users can read, as older versions created it, is closed to them first.
    """
    config = load()
    config.home.close_to_others()
    _hide_proxy_passwords(os.environ)
    return App(config)


def _hide_proxy_passwords(environment: Mapping[str, str]) -> None:
    if any(name.lower().endswith("_proxy") for name in environment):
        from p2pqwen.values.proxy import Proxies

        for secret in Proxies.of(environment).passwords:
            hide(secret)


def _read_facts(held: HeldSnapshot, voices: Voices) -> TorrentFacts:
    from p2pqwen.operations.verify.read_facts import read_facts

    return read_facts(held, voices)
