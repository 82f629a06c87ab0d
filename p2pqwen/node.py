"""The composition root: builds each adapter once, when asked, from the configuration, and hands it to operations."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pqwen.config import Config, default_home, load
from p2pqwen.containment import each
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.values.digest import Sha256
from p2pqwen.values.named_hosts import NamedHosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from p2pqwen.events import Report
    from p2pqwen.hub.cache import HubCache
    from p2pqwen.hub.client import HubClient
    from p2pqwen.index.acceptance import Accepted
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.operations.archive.adopt import Situation
    from p2pqwen.operations.archive.health_watch import HealthWatch
    from p2pqwen.operations.archive.hub_watch import HubWatch
    from p2pqwen.operations.archive.probe import WatchedSwarm, Ways
    from p2pqwen.operations.control.doctor import Patient, RunningNode
    from p2pqwen.operations.control.snapshots import SnapshotCalls
    from p2pqwen.operations.control.status import Status
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.operations.fetch.run import FetchPlaces
    from p2pqwen.operations.indexes.bundle_route import BundleRoute
    from p2pqwen.operations.indexes.dht_access import DhtAccess
    from p2pqwen.operations.indexes.rise import Riser
    from p2pqwen.operations.indexes.vouchers import Vouchers
    from p2pqwen.operations.node.limits import Allowance
    from p2pqwen.operations.node.seed import Publishers
    from p2pqwen.operations.node.service import Service
    from p2pqwen.operations.node.state import SnapshotState
    from p2pqwen.operations.node.supervisor import NodeKeeper
    from p2pqwen.operations.preserve.rebuild import Rebuilt
    from p2pqwen.operations.preserve.recipe_source import RecipeSource
    from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
    from p2pqwen.operations.verify.scrub import Scrubber
    from p2pqwen.operations.verify.standings import Standings
    from p2pqwen.server.client import ControlClient
    from p2pqwen.server.control import ControlServer
    from p2pqwen.stewardship.upstream import UpstreamRecord
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.swarm.settings import SwarmSettings
    from p2pqwen.torrent.infohash import InfoHash
    from p2pqwen.values.snapshot_id import SnapshotId


_DOCTOR_SECONDS = 8.0


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
        return Library(self.config.home, self.config.library.folders, reserve=self.config.library.reserve)

    @cached_property
    def keys(self) -> KeyStore:
        """The publisher whose keys this home holds, if there is one."""
        return KeyStore(self.config.home)

    @cached_property
    def trust(self) -> TrustStore:
        """The publishers it trusts."""
        return TrustStore(self.config.home, self.config.named_hosts)

    @property
    def named_hosts(self) -> NamedHosts:
        """The hosts that the user named, in the configuration and as sources of publishers: see `named_hosts.py`."""
        return self.trust.named_hosts

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
        from p2pqwen.operations.indexes.dht_access import DhtAccess
        from p2pqwen.swarm.bootstrap import bootstrap_nodes

        network = self.config.network
        if not (enabled and network.dht):
            return None
        return DhtAccess((*also, *bootstrap_nodes(network.dht_bootstrap)), self.known_peers)

    @cached_property
    def vouchers(self) -> Vouchers:
        """Whom this home trusts: its own publisher and those it pinned."""
        from p2pqwen.operations.indexes.vouchers import Vouchers

        return Vouchers(self.trust, self.keys)

    @cached_property
    def riser(self) -> Riser:
        """What gives held snapshots the signed torrents that trusted indexes list."""
        from p2pqwen.operations.indexes.rise import Riser

        return Riser(self.library, self.vouchers, self.bundles)

    @contextmanager
    def held_standings(self, report: Report) -> Iterator[Standings]:
        """Open what finds the standing of held snapshots; a home that holds nothing is not begun for it."""
        from p2pqwen.operations.verify.standings import Standings

        if not self.home.state.exists() and not self.library.all():
            yield Standings(None, self.vouchers.voices)
            return
        with self.state_store(report) as store:
            yield self.standings(store)

    def standings(self, store: StateStore) -> Standings:
        """Return what finds the standing of held snapshots."""
        from p2pqwen.operations.verify.standings import Standings

        return Standings(store, self.vouchers.voices)

    def note_unverified(self, snapshot: SnapshotId, infohash: InfoHash, report: Report) -> None:
        """Remember, and log, that the user trusted a snapshot unverified."""
        from p2pqwen.library.event_log import EventLog
        from p2pqwen.library.lift_store import LiftStore

        with self.state_store(report) as store:
            LiftStore(store).note(snapshot, infohash, datetime.now(UTC))
        facts = {"repo": str(snapshot.repo), "commit": str(snapshot.commit), "infohash_v2": str(infohash.v2)}
        with EventLog(self.home.root / "log") as log:
            log.write("trusted unverified", {**facts, "standing": "unvouched"})

    @cached_property
    def hub(self) -> HubClient:
        """The Hugging Face Hub."""
        from p2pqwen.hub.client import HubClient

        return HubClient(self.config.hub.endpoint, self.config.hub.token, named=self.config.named_hosts)

    def open_hub(self, endpoint: str) -> HubClient:
        """Return a client of a Hub; the user's token is for the configured one alone."""
        from p2pqwen.hub.client import HubClient

        return (
            self.hub
            if endpoint == self.config.hub.endpoint
            else HubClient(endpoint, None, named=self.config.named_hosts)
        )

    @cached_property
    def hub_cache(self) -> HubCache:
        """The local Hugging Face cache."""
        from p2pqwen.hub.cache import HubCache

        return HubCache(self.config.hub.cache)

    def bundle_route(self, network: SwarmSettings, report: Report, *, peers: tuple[Endpoint, ...] = ()) -> BundleRoute:
        """Return the way to publishers' bundles, in a session of these settings; `peers` are asked in any case."""
        from p2pqwen.operations.indexes.bundle import BundleNetwork
        from p2pqwen.operations.indexes.bundle_route import STEP_SECONDS, BundleRoute

        return BundleRoute(
            self.bundles,
            self.pointers,
            self.known_peers,
            BundleNetwork(network, peers=peers, seconds=STEP_SECONDS),
            self.dht(enabled=network.dht, also=peers),
            report,
        )

    def rebuild(self, wanted: WantedTorrent, sources: Sequence[RecipeSource], report: Report) -> Rebuilt:
        """Rebuild a torrent from its source."""
        from p2pqwen.operations.preserve.rebuild import rebuild

        return rebuild(
            wanted, sources, open_hub=self.open_hub, cache=self.hub_cache, library=self.library, report=report
        )

    def fetch_places(
        self, network: SwarmSettings, report: Report, *, peers: tuple[Endpoint, ...] = (), typed: Sequence[str] = ()
    ) -> FetchPlaces:
        """Say where a fetch reads and writes, and whom it believes at this moment; `peers` are those the user named.

        `typed`: what he wrote on the command line; the hosts of the web addresses in it are named by him.
        """
        from p2pqwen.operations.fetch.plan import Sources
        from p2pqwen.operations.fetch.run import FetchPlaces
        from p2pqwen.webseed.upstream import HubAccess

        publishers = self.trust.publishers(now=datetime.now(UTC), report=report)
        named = self.named_hosts | NamedHosts.of(typed)
        network = replace(network, named=named)
        return FetchPlaces(
            home=self.home,
            sources=Sources(
                self.library,
                publishers,
                self.vouchers.voices(),
                self.bundle_route(network, report, peers=peers),
                named,
            ),
            hub_cache=self.hub_cache,
            hub=HubAccess(self.config.hub.endpoint, self.config.hub.token),
            network=network,
            known=self.known_peers,
            rebuild=self.rebuild,
            web_seed_bases=self.config.web_seed_bases,
            note_unverified=lambda snapshot, infohash: self.note_unverified(snapshot, infohash, report),
        )

    def swarm_base(self) -> SwarmSettings:
        """Return the settings that every session of this home has in common."""
        from p2pqwen.swarm.bootstrap import bootstrap_nodes
        from p2pqwen.swarm.settings import SwarmSettings

        return SwarmSettings(
            named=self.named_hosts,
            dht_bootstrap=tuple(str(one) for one in bootstrap_nodes(self.config.network.dht_bootstrap)),
            dht_nodes=self.remembered_dht_nodes(),
        )

    def carry_out(
        self,
        request: FetchRequest,
        report: Report,
        on_plan: Callable[[SnapshotId], None] = lambda _: None,
        *,
        allowed: Allowance,
    ) -> dict[str, Any]:
        """Fetch or repair what a request names, under these rates, and return the fields of `fetch --json`."""
        from p2pqwen.hub.cache import HubCache
        from p2pqwen.operations.fetch.repair import repair
        from p2pqwen.operations.fetch.request import fetched_fields
        from p2pqwen.operations.fetch.run import fetch
        from p2pqwen.operations.fetch.target import parse_target
        from p2pqwen.operations.node.limits import lower_rate
        from p2pqwen.operations.verify.target import held_snapshot

        network = request.network(
            self.swarm_base(),
            upload_limit=lower_rate(request.upload_limit, allowed.upload_of_fetches),
            download_limit=lower_rate(request.download_limit, allowed.download),
        )
        options = request.options()
        typed = (request.target, *options.web_seeds)
        places = self.fetch_places(network, report, peers=options.peers, typed=typed)
        if request.hub_cache is not None:
            places = replace(places, hub_cache=HubCache(Path(request.hub_cache)))
        if request.kind == "repair":
            held = held_snapshot(request.target, self.library)
            return fetched_fields(repair(held, options, places, report, on_plan=on_plan))
        return fetched_fields(fetch(parse_target(request.target), options, places, report, on_plan=on_plan))

    def fetch_here(self, request: FetchRequest, report: Report) -> dict[str, Any]:
        """Carry a request out in this process, under the user's limits, and count what it transfers."""
        from p2pqwen.operations.node.counted_fetch import counted_fetch
        from p2pqwen.operations.node.preferences import Choices

        with self.state_store(report) as store:
            return counted_fetch(self.carry_out, request, Choices(store), report)

    def running(self) -> ControlClient | None:
        """Return the way to the running node of this home, None if none runs."""
        from p2pqwen.server.client import ControlClient

        client = ControlClient(self.home.root)
        return client if client.answers else None

    def snapshot_calls(self, store: StateStore) -> SnapshotCalls:
        """Return what users may say about snapshots and limits while no node runs."""
        from p2pqwen.events import ignore
        from p2pqwen.operations.control.snapshots import SnapshotCalls
        from p2pqwen.operations.node.preferences import Choices

        return SnapshotCalls(self.library, Choices(store), removed=self.scrubber(store, ignore).forget)

    def seeded_publishers(self, settings: SwarmSettings, report: Report) -> Publishers:
        """Build what a seeding node does for its own publisher and for those it follows."""
        from p2pqwen.operations.indexes.own_index import last_published
        from p2pqwen.operations.node.bundle_seeds import BundleSeeds
        from p2pqwen.operations.node.followed import PublisherCare
        from p2pqwen.operations.node.seed import Publishers

        def own() -> Accepted | None:
            return last_published(self.keys, datetime.now(UTC)) if self.keys.exists else None

        def ids() -> list[Sha256]:
            # Our own roots may be damaged: `doctor` and every command that signs say so, and others are seeded on.
            own = each([self.keys] if self.keys.exists else [], KeyStore.publisher, failed=lambda *_: None)
            return [*self.trust.ids(), *own]

        def route(stopping: Callable[[], bool]) -> BundleRoute:
            # A session of its own, which accepts nobody and may speak to whom the node may.
            reach = replace(settings, loopback=settings.allows_loopback, named_lan=settings.allows_lan)
            found = self.bundle_route(replace(reach, listen=None, upnp=False), report)
            found.network = replace(found.network, stopping=stopping)
            return found

        care = PublisherCare(
            trust=self.trust,
            own=own,
            bundles=self.bundles,
            pointers=self.pointers,
            routes=route,
            access=self.dht(enabled=settings.dht),
            report=report,
        )
        return Publishers(BundleSeeds(self.bundles, ids, trackers=settings.trackers), care)

    def keeper(self, store: StateStore, settings: SwarmSettings, report: Report) -> NodeKeeper:
        """Build what keeps a seeding node in order."""
        from p2pqwen.operations.fetch.request import FetchRequest
        from p2pqwen.operations.node.jobs import FetchJobs
        from p2pqwen.operations.node.preferences import Choices
        from p2pqwen.operations.node.standing_watch import StandingWatch
        from p2pqwen.operations.node.supervisor import NodeKeeper

        network = self.config.network

        def repair_request(snapshot: SnapshotId) -> FetchRequest:
            return FetchRequest(
                str(snapshot),
                kind="repair",
                use_web_seeds=network.web_seeds,
                dht=settings.dht,
                lsd=settings.lsd,
                upnp=settings.upnp,
                trackers=settings.trackers,
            )

        jobs = FetchJobs(
            lambda request, report, on_plan: self.carry_out(request, report, on_plan, allowed=keeper.allowed),
            store,
            report,
            chosen=lambda one: keeper.choice_of(one),  # noqa: PLW0108 - the two know each other
            repaired=lambda one: keeper.mended(one),  # noqa: PLW0108
        )
        keeper = NodeKeeper(
            library=self.library,
            choices=Choices(store),
            scrubber=self.scrubber(store, report),
            jobs=jobs,
            watch=StandingWatch(self.library, self.standings(store), self.riser, report),
            report=report,
            base_upload=settings.upload_limit,
            base_download=settings.download_limit,
            repair_request=repair_request,
        )
        return keeper

    @property
    def watch_every(self) -> timedelta | None:
        """How often the node preserves by itself; None where it is not asked to."""
        return self.config.watch.every if self.config.watch.preserves else None

    def hub_watch(self, keeper: NodeKeeper, store: StateStore, report: Report) -> HubWatch:
        """Build what preserves by a schedule, and asks the Hub what it still shows, while the node seeds."""
        from p2pqwen.hub.client import HubClient
        from p2pqwen.library.upstream_store import UpstreamStore
        from p2pqwen.operations.archive.bulk_preserve import BulkOptions, BulkPlaces
        from p2pqwen.operations.archive.bulk_survey import wanted_repos
        from p2pqwen.operations.archive.hub_watch import HubWatch, Schedule, throttle
        from p2pqwen.operations.archive.upstream import tracked
        from p2pqwen.operations.node.limits import lower_rate
        from p2pqwen.operations.verify.scrub import damage_found
        from p2pqwen.stewardship.bulk_plan import BulkLimits

        config = self.config.watch
        took = throttle(lambda: watch, lambda: lower_rate(config.rate, keeper.allowed.download))
        hub = HubClient(self.config.hub.endpoint, self.config.hub.token, named=self.config.named_hosts, took=took)
        limits = BulkLimits(
            include=config.include,
            exclude=config.exclude,
            licenses=config.license,
            max_size=config.max_size,
            budget=config.budget,
        )

        def clock() -> datetime:
            return datetime.now(UTC)

        watch = HubWatch(
            Schedule(config.every if config.preserves else None, config.upstream_every),
            BulkOptions(limits, parallel=config.parallel),
            BulkPlaces(
                hub,
                self.hub_cache,
                self.library,
                UpstreamStore(store),
                clock=clock,
                known_damage=damage_found(store),
            ),
            store,
            wanted=lambda: wanted_repos(config.watchlist, config.orgs, hub, report),
            tracked=lambda: tracked(self.library, self.keys, clock(), report),
            report=report,
            held_back=lambda: "" if keeper.allowed.may_transfer else keeper.allowed.reason,
        )
        return watch

    def health_watch(
        self, keeper: NodeKeeper, store: StateStore, settings: SwarmSettings, report: Report
    ) -> HealthWatch:
        """Build what looks at swarms in the background of a seeding node."""
        from p2pqwen.library.health_store import HealthStore
        from p2pqwen.operations.archive.health_watch import HealthWatch

        return HealthWatch(
            swarms=self.watched_swarms,
            rows=lambda: keeper.on_node(keeper.look),
            ready=lambda: not keeper.loading,
            store=HealthStore(store),
            ways=self.ways(dht=settings.dht, trackers=settings.trackers),
            clock=lambda: datetime.now(UTC),
            report=report,
        )

    def watched_swarms(self) -> list[WatchedSwarm]:
        """Return the swarms that matter here: what is held, and what trusted indexes list."""
        from p2pqwen.operations.archive.health import watched_swarms

        return watched_swarms(self.library, self.trust.publishers(now=datetime.now(UTC)))

    def situation(self, store: StateStore, report: Report) -> Situation:
        """Return what a plan of what to hold starts from."""
        from p2pqwen.library.health_store import HealthStore
        from p2pqwen.library.steward_store import StewardStore
        from p2pqwen.library.upstream_store import UpstreamStore
        from p2pqwen.operations.archive.adopt import Situation, contradictions, disks_of
        from p2pqwen.operations.archive.health import health_rows, watched_swarms

        now = datetime.now(UTC)
        publishers = self.trust.publishers(now=now, report=report)
        swarms = watched_swarms(self.library, publishers, report)
        return Situation(
            rows=health_rows(swarms, HealthStore(store).all(), UpstreamStore(store).states(), now),
            node=StewardStore(store).node_id(),
            disks=disks_of(self.library),
            now=now,
            away={one.id: one.size for one in self.library.away()},
            contradicted=contradictions(publishers),
        )

    def pinned(self, store: StateStore) -> frozenset[SnapshotId]:
        """Return the snapshots that are kept whatever happens."""
        from p2pqwen.operations.node.preferences import Choices
        from p2pqwen.values.snapshot_id import SnapshotId

        return frozenset(SnapshotId.parse(name) for name, choice in Choices(store).all().items() if choice.pinned)

    def own_rows(self) -> list[SnapshotState]:
        """Return the snapshots of the running node as it sees them, none where none runs."""
        from p2pqwen.operations.node.state import node_status

        running, rows = node_status(self.library, self.home)
        return rows if running is not None else []

    def ways(self, *, dht: bool = True, trackers: bool = True, web_seeds: bool = True) -> Ways:
        """Say whom to ask about swarms, as the configuration and these switches allow."""
        from p2pqwen.operations.archive.probe import Ways

        network = self.config.network
        return Ways(
            self.dht(enabled=dht),
            trackers=trackers and network.trackers,
            web_seeds=web_seeds and network.web_seeds != "never",
            named=self.named_hosts,
        )

    def control(
        self, keeper: NodeKeeper, store: StateStore, report: Report, *, metrics_on: tuple[str, int] | None
    ) -> ControlServer:
        """Build the control API of a seeding node."""
        from p2pqwen.operations.control.api import node_calls
        from p2pqwen.operations.control.metrics import families
        from p2pqwen.server.control import ControlServer
        from p2pqwen.server.metrics import exposition

        return ControlServer(
            self.home.root,
            node_calls(keeper, self.library, store, watch_every=self.watch_every),
            {"/metrics": lambda: exposition(families(keeper.figures_now()))},
            metrics_on=metrics_on,
            force_loopback=self.config.network.control == "loopback",
            report=report,
        )

    def status(self, store: StateStore, report: Report) -> Status:
        """Return how this home stands: what its node says, or what lies on the disk."""
        from p2pqwen.operations.control.status import status

        running = self.running()
        asked = None if running is None else running.call("GET", "/v1/status")
        return status(self.library, self.home, store, asked, self.standings(store), report)

    def service(self) -> Service:
        """Return the systemd unit of this home's node."""
        from p2pqwen.operations.node.service import Service
        from p2pqwen.user_path import user_path

        return Service(
            home=self.home.root,
            default_home=default_home(),
            config_folder=user_path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "the service's unit"),
            program=(sys.executable, "-m", "p2pqwen"),
            environment=os.environ,
        )

    def patient(self, report: Report) -> Patient:
        """Gather what `doctor` looks at."""
        from p2pqwen.operations.control.doctor import Patient
        from p2pqwen.operations.node.preferences import Choices
        from p2pqwen.operations.verify.scrub import scrub_records
        from p2pqwen.swarm.endpoint import Endpoint
        from p2pqwen.values.proxy import Proxies

        now = datetime.now(UTC)
        with self.state_store(report) as store:
            scrubs, choices = scrub_records(store), Choices(store)
            limits, moved = choices.limits(), choices.month(now.astimezone())
        access = self.dht()
        return Patient(
            home=self.home,
            library=self.library,
            node=self._running_node(),
            listen=Endpoint.parse(self.config.network.listen, allow_port_zero=True),
            dht=None if access is None else replace(access, seconds=_DOCTOR_SECONDS),
            hub_endpoint=self.config.hub.endpoint,
            hub_time=lambda: self.hub.time(),  # noqa: PLW0108 - huggingface_hub is slow to import: when it is due
            publishers=self.trust.publishers(now=now, report=report),
            publishes=self.keys.exists,
            scrubs=scrubs,
            now=lambda: datetime.now(UTC),
            limits=limits,
            uploaded_this_month=moved.uploaded,
            proxies=Proxies.of(os.environ),
        )

    def _running_node(self) -> RunningNode | None:
        from p2pqwen.operations.control.doctor import RunningNode
        from p2pqwen.swarm.reach import Reach

        client = self.running()
        if client is None:
            return None
        said = client.call("GET", "/v1/network")
        started = datetime.fromtimestamp(said["started"], UTC)
        return RunningNode(client.call("GET", "/v1/node")["pid"], said["listen"], started, Reach.from_json(said))

    def state_store(self, report: Report) -> StateStore:
        """Open what this node remembers between runs; the caller closes it."""
        from p2pqwen.library.state_store import StateStore

        return StateStore(self.home.state, report)

    def upstream_records(self, report: Report) -> dict[SnapshotId, UpstreamRecord]:
        """Return what is known of snapshots on the Hub; nothing where it was never asked."""
        from p2pqwen.library.upstream_store import UpstreamStore

        if not self.home.state.exists():
            return {}
        with self.state_store(report) as store:
            return UpstreamStore(store).all()

    def scrubber(self, store: StateStore, report: Report) -> Scrubber:
        """Look for bit rot in the library."""
        from p2pqwen.library.verified import VerifiedFiles
        from p2pqwen.operations.verify.scrub import Scrubber

        every = self.config.library.scrub_every
        return Scrubber(self.library, VerifiedFiles(self.home), store, every, report)


def open_node() -> Node:
    """Build a node from the environment and the home's config.toml; raises `UsageError`.

    A home that others may look into, as older versions made it, is closed to them first.
    """
    config = load()
    config.home.close_to_others()
    return Node(config)
