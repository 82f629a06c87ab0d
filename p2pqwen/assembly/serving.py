"""How an app serves: the parts of a running node, built from the configuration and connected."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from p2pqwen.app import App
from p2pqwen.assembly import fetching, looking, planning
from p2pqwen.assembly.archive_answer import AdoptAnswer
from p2pqwen.assembly.archiving import Adopted, look
from p2pqwen.config.load import default_home
from p2pqwen.containment import each
from p2pqwen.errors import FormatError, NotFoundError, UsageError
from p2pqwen.events import Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.alert_store import AlertStore
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.own_files import Left
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.net.messages import Messages
from p2pqwen.operations.archive.adopt import Wishes, disks_of
from p2pqwen.operations.archive.bulk_preserve import BulkContext, BulkOptions
from p2pqwen.operations.archive.bulk_survey import wanted_repos
from p2pqwen.operations.archive.health_watch import HealthWatch
from p2pqwen.operations.archive.hub_watch import HubWatch, Schedule, throttle
from p2pqwen.operations.archive.keeper import ArchiveKeeper, KeeperOptions
from p2pqwen.operations.archive.swarm_probe import Probes
from p2pqwen.operations.archive.upstream import tracked
from p2pqwen.operations.control.alert_watch import AlertWatch
from p2pqwen.operations.control.alerts import AlertsAnswer, PublisherLook
from p2pqwen.operations.control.dashboard import Dashboard
from p2pqwen.operations.control.metrics import families
from p2pqwen.operations.control.routes import Looks, node_calls
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.indexes.bundle_route import BundleRoute
from p2pqwen.operations.indexes.own_index import last_published
from p2pqwen.operations.node.bundle_seeds import BundleSeeds
from p2pqwen.operations.node.job_answer import JobsAnswer
from p2pqwen.operations.node.jobs import FetchJob, FetchJobs
from p2pqwen.operations.node.limits import lower_rate
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.operations.node.publisher_sync import PublisherSync
from p2pqwen.operations.node.seed import Publishers
from p2pqwen.operations.node.service import Service
from p2pqwen.operations.node.standing_watch import StandingWatch
from p2pqwen.operations.node.supervisor import Supervisor
from p2pqwen.operations.node.withdrawal_watch import WithdrawalWatch
from p2pqwen.operations.verify.scrub import damage_found
from p2pqwen.server.control import Call, ControlServer, Given
from p2pqwen.server.metrics import exposition
from p2pqwen.stewardship.bulk_plan import BulkLimits
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.stewardship.swarm_record import health_of
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.user_path import user_path
from p2pqwen.values.byte_size import parse_size
from p2pqwen.values.digest import Sha256
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId

MOST_ADOPTED = 1000
"""Snapshots of one plan that a call may ask for."""
SURVEY_SECONDS = 30.0
"""How long swarms are asked before the archive is planned."""


def seeded_publishers(app: App, settings: SwarmSettings, report: Report) -> Publishers:
    """Build the part of a seeding node that serves its own publisher and follows others."""

    def own() -> Accepted | None:
        return last_published(app.keys, datetime.now(UTC)) if app.keys.exists else None

    def ids() -> list[Sha256]:
        # Our own roots may be damaged: `doctor` and every command that signs say so; others are still seeded.
        own = each([app.keys] if app.keys.exists else [], KeyStore.publisher, failed=lambda *_: None)
        return [*app.trust.ids(), *own]

    def route(stopping: Callable[[], bool]) -> BundleRoute:
        # A separate session, which accepts no peers and may connect to the same hosts as the node.
        reach = replace(
            settings,
            listen=None,
            choices=settings.choices.without("upnp"),
            loopback=settings.allows_loopback,
            named_lan=settings.allows_lan,
        )
        found = fetching.bundle_route(app, reach, report)
        found.network = replace(found.network, stopping=stopping)
        found.keeps_whole = True
        return found

    sync = PublisherSync(
        trust=app.trust,
        own=own,
        bundles=app.bundles,
        pointers=app.pointers,
        routes=route,
        access=app.dht(enabled=settings.choices.dht),
        report=report,
    )
    return Publishers(BundleSeeds(app.bundles, ids, trackers=settings.choices.trackers), sync)


def make_supervisor(app: App, store: StateStore, settings: SwarmSettings, report: Report) -> Supervisor:
    """Build the supervisor of a seeding node."""
    network = app.config.network

    def repair_request(snapshot: SnapshotId) -> FetchRequest:
        return FetchRequest(
            str(snapshot),
            kind="repair",
            use_web_seeds=network.web_seeds,
            choices=settings.choices.limited(upload=0, download=0),  # the node's own rates hold for all it does
        )

    def carry_out(request: FetchRequest, report: Report, on_plan: Callable[[SnapshotId], None]) -> FetchAnswer:
        # A request cannot switch on what this node does not do.
        mine = replace(request, choices=request.choices.within(settings.choices))
        return fetching.carry_out(app, mine, report, on_plan, allowed=supervisor.allowed)

    jobs = FetchJobs(
        carry_out,
        store,
        report,
        chosen=lambda one: supervisor.choice_of(one),  # noqa: PLW0108 - the two refer to each other
        fetched=partial(fetching.note_fetched, store),
        repaired=lambda one: supervisor.mended(one),  # noqa: PLW0108
    )
    supervisor = Supervisor(
        library=app.library,
        choices=Choices(store),
        scrubber=app.scrubber(store, report),
        jobs=jobs,
        watch=StandingWatch(
            app.library,
            app.standings(store),
            app.riser,
            report,
            withdrawals=WithdrawalWatch(app.vouchers.voices, SeedWithdrawn(network.seed_withdrawn), report),
        ),
        report=report,
        base_upload=settings.choices.upload_limit,
        base_download=settings.choices.download_limit,
        repair_request=repair_request,
    )
    return supervisor


def hub_watch(app: App, supervisor: Supervisor, store: StateStore, report: Report) -> HubWatch:
    """Build the watch that preserves on a schedule and asks the Hub what it still shows."""
    config = app.config.watch

    def rate() -> int:
        return lower_rate(config.rate, supervisor.allowed.download)

    origins = app.origins(report, took=throttle(lambda: watch, rate), rate=rate)
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
        BulkContext(
            origins,
            app.hub_cache,
            app.library,
            UpstreamStore(store),
            clock=clock,
            known_damage=damage_found(store),
        ),
        store,
        wanted=lambda: wanted_repos(config.watchlist, config.orgs, origins, report),
        tracked=lambda: tracked(app.library, app.keys, clock(), report),
        report=report,
        held_back=lambda: "" if supervisor.allowed.may_transfer else supervisor.allowed.reason,
    )
    return watch


def health_watch(
    app: App, supervisor: Supervisor, store: StateStore, settings: SwarmSettings, report: Report
) -> HealthWatch:
    """Build the watch that examines swarms in the background of a seeding node."""
    return HealthWatch(
        swarms=partial(planning.each_swarm, app),
        rows=lambda: supervisor.on_node(supervisor.look),
        ready=lambda: not supervisor.loading,
        store=HealthStore(store),
        probes=looking.probes(app, settings.choices),
        clock=lambda: datetime.now(UTC),
        report=report,
    )


@dataclass(frozen=True, slots=True)
class _KeptNode:
    """A node as the keeper of its archive sees it."""

    app: App
    supervisor: Supervisor
    store: StateStore
    probes: Probes
    request: Callable[[SnapshotId], FetchRequest]
    report: Report

    def submit(self, snapshot: SnapshotId) -> FetchJob:
        return self.supervisor.submit(self.request(snapshot))

    def jobs(self, snapshot: SnapshotId) -> list[FetchJob]:
        return [job for job in self.supervisor.jobs.all() if job.request.target == str(snapshot)]

    def stop(self, job: FetchJob) -> None:
        self.supervisor.jobs.stop(job)

    def remove(self, snapshot: SnapshotId) -> tuple[Left, ...]:
        held = self.app.library.get(snapshot)
        if held is None:
            raise NotFoundError(f"{snapshot} is no longer in the library")
        return self.supervisor.remove(held)

    def look(self, snapshots: Collection[SnapshotId]) -> None:
        self.survey(snapshots, again=True)

    def room(self) -> int:
        return max((disk.room for disk in disks_of(self.app.library)), default=0)

    def pinned(self) -> frozenset[SnapshotId]:
        return planning.pinned(self.store)

    def held_back(self) -> str:
        return "" if self.supervisor.allowed.may_transfer else self.supervisor.allowed.reason

    def survey(self, only: Collection[SnapshotId] | None = None, *, again: bool = False) -> None:
        """Examine the swarms that are due, or those of `only`, for `SURVEY_SECONDS`."""
        swarms = list(planning.each_swarm(self.app, only))
        known = HealthStore(self.store)
        look(self.app, swarms, known, self.probes, ignore, seconds=SURVEY_SECONDS, again=again)


def archive_keeper(
    app: App, supervisor: Supervisor, store: StateStore, settings: SwarmSettings, report: Report, *, budget: int | None
) -> ArchiveKeeper | None:
    """Build the keeper that adopts within `budget` bytes, or config.toml's budget; None if neither is given."""
    config = app.config.archive
    size = config.budget if budget is None else budget
    if size is None:
        return None
    web_seeds = app.config.network.web_seeds

    def request(snapshot: SnapshotId) -> FetchRequest:
        choices = settings.choices.limited(upload=0, download=0)  # the node's own rates hold for all it does
        return FetchRequest(str(snapshot), use_web_seeds=web_seeds, kind="adopt", choices=choices)

    node = _KeptNode(app, supervisor, store, looking.probes(app, settings.choices), request, report)
    keeper = ArchiveKeeper(
        KeeperOptions(size, config.every, Wishes(config.prefer, config.exclude, config.license), config.rebalance),
        node,
        StewardStore(store),
        outlook=lambda: planning.outlook(app, store, ignore),
        survey=node.survey,
        clock=lambda: datetime.now(UTC),
        report=report,
    )
    supervisor.on_change.append(keeper.wake)
    return keeper


def control(
    app: App,
    supervisor: Supervisor,
    store: StateStore,
    report: Report,
    *,
    metrics_on: tuple[str, int] | None,
    dashboard_on: tuple[str, int] | None = None,
    dashboard: Dashboard | None = None,
    alerts: AlertWatch,
) -> ControlServer:
    """Build the control API of a seeding node and, with `dashboard_on`, the page that shows `dashboard`."""
    calls = {
        **node_calls(supervisor, app.library, store, watch_every=app.config.watch.rounds_every),
        "GET /v1/alerts": lambda _: AlertsAnswer(alerts.current()),
        **adopt_calls(app, supervisor, store),
    }
    return ControlServer(
        app.home.root,
        calls if dashboard is None else {**calls, "GET /v1/pictures": dashboard.pictures},
        {"/metrics": lambda: exposition(families(supervisor.figures_now(), alerts.last))},
        metrics_on=metrics_on,
        dashboard_on=dashboard_on,
        force_loopback=app.config.network.control == "loopback",
        report=report,
    )


def adopt_calls(app: App, supervisor: Supervisor, store: StateStore) -> dict[str, Call]:
    """Return the calls that plan an adoption from what is known of swarms and that carry out a plan.

    Their arguments are `budget`, a size such as 2TB, and `snapshots`, those of the plan as shown.
    """
    wishes = Wishes(app.config.archive.prefer, app.config.archive.exclude, app.config.archive.license)

    def budget(given: Given) -> int:
        return parse_size(str(given.get("budget", "")))

    def plan(given: Given) -> AdoptAnswer:
        found = planning.outlook(app, store, ignore).plan(wishes, budget(given))
        return AdoptAnswer.of(Adopted(found), dry_run=True)

    def carry_out(given: Given) -> JobsAnswer:
        named = given.get("snapshots")
        expected = f"a list of 1 to {MOST_ADOPTED} names such as ORG/MODEL@COMMIT"
        if not isinstance(named, list) or not 0 < len(named) <= MOST_ADOPTED:
            raise UsageError("snapshots", expected=expected)
        try:
            chosen = [SnapshotId.parse(str(one)) for one in named]
        except FormatError as error:
            raise UsageError(f"snapshots: {error.what}", expected=expected, got=error.got) from error
        StewardStore(store).set_budget(budget(given))
        web_seeds, choices = app.config.network.web_seeds, app.config.network.choices.limited(upload=0, download=0)
        return JobsAnswer(
            tuple(
                supervisor.submit(FetchRequest(str(one), use_web_seeds=web_seeds, choices=choices)).answer
                for one in chosen
            )
        )

    return {"POST /v1/adopt/plan": plan, "POST /v1/adopt": carry_out}


def dashboard(app: App, supervisor: Supervisor, store: StateStore, alerts: AlertWatch) -> Dashboard:
    """Build the source of a seeding node's charts."""
    looks = Looks.of(supervisor, app.library, store, watch_every=app.config.watch.rounds_every)
    return Dashboard(
        looks.status,
        looks.network,
        supervisor.rooms,
        lambda: alerts.slow,
        scrubs=supervisor.scrubber.calendar,
        failing=supervisor.failing,
        dangers=lambda: alerts.dangers,
    )


def messages(app: App) -> Messages | None:
    """Build the sender of alerts; None if config.toml names no address. Raises `UsageError`."""
    addresses = app.config.alerts.addresses()
    return Messages(addresses, f"{app.home.config_file}: [alerts]") if addresses else None


def alert_watch(app: App, supervisor: Supervisor, store: StateStore, report: Report) -> AlertWatch:
    """Build the watch for trouble while a node seeds; raises `UsageError` for an invalid address."""
    looks = Looks.of(supervisor, app.library, store, watch_every=app.config.watch.rounds_every)

    def swarms() -> dict[SnapshotId, SwarmHealth]:
        now, upstream = datetime.now(UTC), UpstreamStore(store).states()
        held = {one.id for one in app.library.all()}
        return {
            one: health_of(record, upstream.get(one, Upstream.UNKNOWN), now)
            for one, record in HealthStore(store).all().items()
            if one in held
        }

    def publishers() -> list[PublisherLook]:
        known = app.trust.publishers(now=datetime.now(UTC), report=ignore)
        found = [
            PublisherLook(
                one.publisher,
                one.name or str(one.publisher)[:12],
                None if one.document is None else one.document.issued,
                len(app.trust.evidence(one.publisher)),
            )
            for one in known
        ]
        own = each([app.keys] if app.keys.exists else [], _own_look, failed=lambda *_: None)
        trusted = {one.publisher for one in found}
        return [*found, *(one for one in own if one.publisher not in trusted)]

    config = app.config.alerts
    return AlertWatch(
        looks.status,
        supervisor.rooms,
        swarms,
        publishers,
        AlertStore(store),
        messages(app),
        clock=lambda: datetime.now(UTC),
        node=platform.node() or "this machine",
        quiet=config.quiet,
        mute=config.mute,
        report=report,
        loading=lambda: supervisor.loading,
        failing=supervisor.failing,
    )


def _own_look(keys: KeyStore) -> PublisherLook:
    last = last_published(keys, datetime.now(UTC))
    issued = None if last is None else last.document.issued
    return PublisherLook(keys.publisher(), keys.roots()[-1].root.name, issued, 0)


def service(app: App) -> Service:
    """Return the systemd unit of this home's node."""
    return Service(
        home=app.home.root,
        default_home=default_home(),
        config_folder=user_path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "the service's unit"),
        program=(sys.executable, "-m", "p2pqwen"),
        environment=os.environ,
    )
