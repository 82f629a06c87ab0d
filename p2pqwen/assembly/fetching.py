"""How an app fetches: what a fetch reads and writes, the routes to bundles and sources, and running one request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.app import App
from p2pqwen.errors import InUseError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.events import Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library.event_log import EventLog
from p2pqwen.library.lift_store import LiftStore
from p2pqwen.library.snapshots import State
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.fetch.context import FetchContext
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer, FetchShown
from p2pqwen.operations.fetch.local_dir import lay_files, require_outside
from p2pqwen.operations.fetch.plan import Sources, TorrentPlan, make_plan
from p2pqwen.operations.fetch.repair import repair
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.fetch.run import fetch, with_part
from p2pqwen.operations.fetch.target import MagnetTarget, NamedTarget, parse_target
from p2pqwen.operations.indexes.torrent_source import Bundles
from p2pqwen.operations.node.counted_fetch import counted_fetch
from p2pqwen.operations.node.job_answer import Ended, JobAnswer, JobLine
from p2pqwen.operations.node.limits import Allowance, lower_rate
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.operations.verify.target import held_snapshot
from p2pqwen.swarm.bootstrap import bootstrap_nodes
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.user_path import user_path
from p2pqwen.values.model_file import quantisations
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.bundle_route import BundleRoute
    from p2pqwen.operations.preserve.rebuild import Rebuilt
    from p2pqwen.operations.preserve.recipe_source import RecipeSource
    from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
    from p2pqwen.server.control_client import ControlClient

_PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 0.0)
"""Seconds before a request that met another fetch of the same snapshot is repeated."""


def bundle_route(app: App, network: SwarmSettings, report: Report, *, peers: tuple[Endpoint, ...] = ()) -> BundleRoute:
    """Return the route to publishers' bundles, in a session with these settings; `peers` are always asked."""
    from p2pqwen.operations.indexes.bundle import BundleNetwork
    from p2pqwen.operations.indexes.bundle_route import STEP_SECONDS, BundleRoute

    return BundleRoute(
        app.bundles,
        app.pointers,
        app.known_peers,
        BundleNetwork(network, peers=peers, seconds=STEP_SECONDS),
        app.dht(enabled=network.choices.dht, also=peers),
        report,
    )


def rebuild_from(app: App, wanted: WantedTorrent, sources: Sequence[RecipeSource], report: Report) -> Rebuilt:
    """Rebuild a torrent from its source."""
    from p2pqwen.operations.preserve.rebuild import rebuild

    return rebuild(
        wanted,
        sources,
        open_origin=lambda endpoint: app.open_origin(endpoint, report),
        cache=app.hub_cache,
        library=app.library,
        report=report,
    )


def fetch_context(
    app: App,
    network: SwarmSettings,
    report: Report,
    *,
    peers: tuple[Endpoint, ...] = (),
    typed: Sequence[str] = (),
    publishers: Sequence[TrustedPublisher] | None = None,
) -> FetchContext:
    """Return where a fetch reads and writes, and which publishers it trusts now; `peers` are those the user named.

    `typed`: what the user wrote on the command line; hosts of the URLs in it count as named by the user. `publishers`
    None: read them now.
    """
    if publishers is None:
        publishers = app.trust.publishers(now=datetime.now(UTC), report=report)
    named = app.named_hosts | NamedHosts.of(typed)
    network = replace(network, named=named)
    return FetchContext(
        home=app.home,
        sources=Sources(
            app.library,
            publishers,
            app.vouchers.voices(),
            Bundles(app.bundles, cache(partial(bundle_route, app, network, report, peers=peers))),
            named,
        ),
        hub_cache=app.hub_cache,
        site=app.access,
        network=network,
        known=app.known_peers,
        rebuild=partial(rebuild_from, app),
        web_seed_bases=app.config.web_seed_bases,
        note_unverified=lambda snapshot, infohash: note_unverified(app, snapshot, infohash, report),
        stand_ins=app.stand_ins,
    )


def carry_out(
    app: App,
    request: FetchRequest,
    report: Report,
    on_plan: Callable[[SnapshotId], None] = lambda _: None,
    *,
    allowed: Allowance,
) -> FetchAnswer:
    """Fetch or repair what a request names, within the allowed rates, and return the answer."""
    choices = request.choices.limited(
        upload=lower_rate(request.choices.upload_limit, allowed.upload_of_fetches),
        download=lower_rate(request.choices.download_limit, allowed.download),
    )
    options = request.options()
    typed = (request.target, *options.web_seeds)
    context = fetch_context(app, swarm_settings(app, choices), report, peers=options.peers, typed=typed)
    if request.hub_cache is not None:
        context = replace(context, hub_cache=app.hub_cache_at(Path(request.hub_cache)))
    if request.kind == "repair":
        held = held_snapshot(request.target, app.library)
        return FetchAnswer.of(repair(held, options, context, report, on_plan=on_plan))
    return FetchAnswer.of(fetch(parse_target(request.target), options, context, report, on_plan=on_plan))


def quantisations_to_choose_from(app: App, request: FetchRequest) -> dict[str, int]:
    """Return the quantisations (and their bytes) that a request must still choose from, if that is known quickly.

    Empty if there is one at most, if the snapshot is complete, and for magnets, whose torrents come from peers.
    """
    target = parse_target(request.target)
    if request.include is not None or isinstance(target, MagnetTarget):
        return {}
    if isinstance(target, NamedTarget) and (target.part or "gguf" not in target.repo.text.lower()):
        return {}
    network = swarm_settings(app, request.choices)
    try:
        sources = replace(fetch_context(app, network, ignore, typed=[request.target]).sources, bundles=None)
        plan = make_plan(target, sources, repo=request.options().repo, report=ignore)
    except P2pqwenError:
        return {}  # the fetch reports it, if it fails for that reason
    held = app.library.get(plan.snapshot) if isinstance(plan, TorrentPlan) else None
    if not isinstance(plan, TorrentPlan) or (held is not None and held.state is State.COMPLETE):
        return {}
    found = quantisations((file.path, file.size) for file in plan.metainfo.files)
    return found if len(found) > 1 else {}


def users_folder(app: App, named: str, called: str) -> Path:
    """Return the user's folder that `named` means; raises `UsageError` if it overlaps one of ours.

    `called` names it in the error.
    """
    folder = user_path(named, called).absolute()
    ours = [app.home.root, app.hub_cache.root, *(one.root for one in app.library.folders)]
    require_outside(folder, ours, called)
    return folder


def where_it_is(
    app: App, request: FetchRequest, done: FetchAnswer, local_dir: Path | None, *, replace_files: bool = False
) -> FetchShown:
    """Return where the files of a person's finished fetch are, after laying them into `local_dir` if given.

    `replace_files` is the `replace` of `lay_files`.
    """
    held = app.library.get(done.snapshot)
    if held is None:
        raise NotFoundError(f"{done.snapshot} is no longer in the library")
    metainfo, target = held.metainfo(), parse_target(request.target)
    options = with_part(target, request.options())
    wanted = choose_files(metainfo, options.selection(metainfo))
    files = [file.path for file in metainfo.files if wanted is None or file.path in wanted]
    if local_dir is not None:
        lay_files(held.folder, files, local_dir, replace=replace_files)
    return FetchShown.of(done, files, local_dir or held.folder, chosen=wanted is not None or local_dir is not None)


def fetch_here(app: App, request: FetchRequest, report: Report) -> FetchAnswer:
    """Carry out a request in this process, within the user's limits, and count what it transfers."""
    with app.state_store(report) as store:
        done = counted_fetch(partial(carry_out, app), request, Choices(store), report)
        note_fetched(store, request, done.snapshot)
        return done


def note_fetched(store: StateStore, request: FetchRequest, snapshot: SnapshotId) -> None:
    """Record who owns a fetched snapshot: a person, however they asked for it, or the archive.

    A person's is never given up, even if the node had adopted it. Raises `DiskError`.
    """
    if request.kind == "fetch":
        StewardStore(store).hand_over(snapshot)


def fetch_by_node(running: ControlClient, request: FetchRequest, report: Report) -> FetchAnswer:
    """Have the running node fetch it, and report its events; the node continues if the caller is interrupted.

    The node may join it to a fetch that another caller requested, which lays the files into another cache or none. A
    request with `insist_on_cache` is then repeated after that fetch. Raises what the fetch raised, and `NetworkError`
    if the node stops before.
    """
    if not request.insist_on_cache:
        return _job_of_node(running, request, report)
    problem: P2pqwenError = P2pqwenError(
        f"the node did not put {request.target} into the Hugging Face cache", hint="try again"
    )
    for pause in _PAUSES:
        try:
            done = _job_of_node(running, request, report)
        except InUseError as error:
            problem = error  # another fetch of it, or the node tending a snapshot that has just arrived
        else:
            if _is_laid_as_asked(request, done):
                return done
        time.sleep(pause)
    raise problem


def _is_laid_as_asked(request: FetchRequest, done: FetchAnswer) -> bool:
    if request.hub_cache is None:
        return True
    return done.hf_cache == HubCache(Path(request.hub_cache)).snapshot_folder(done.snapshot)


def _job_of_node(running: ControlClient, request: FetchRequest, report: Report) -> FetchAnswer:
    from p2pqwen.server.problem import Refusal

    number = running.call(JobAnswer, "POST", "/v1/fetches", request.to_json()).id
    for said in running.stream(JobLine, "GET", f"/v1/fetches/{number}/events"):
        if said.event is not None:
            report(said.event)
        match said.line:
            case Refusal(error=problem):
                raise problem.error
            case Ended(result=result, state=state):
                if result is None:
                    raise P2pqwenError(f"the node {state} the fetch")
                return result
    raise NetworkError("the node stopped before the fetch was done", hint="start it again: it resumes the fetch")


def swarm_settings(app: App, choices: NetworkChoices, *, listen: Endpoint | None = None) -> SwarmSettings:
    """Return the settings of a session of this home; `listen`: where it accepts peers, None: nowhere."""
    return SwarmSettings(
        listen=listen,
        choices=choices,
        lan=app.config.network.lan,
        named=app.named_hosts,
        dht_bootstrap=tuple(str(one) for one in bootstrap_nodes(app.config.network.dht_bootstrap)),
        dht_nodes=app.remembered_dht_nodes(),
        proxy=app.config.network.bittorrent_proxy,
        webtorrent=app.config.network.webtorrent,
    )


def note_unverified(app: App, snapshot: SnapshotId, infohash: InfoHash, report: Report) -> None:
    """Remember, and log, that the user trusted a snapshot unverified."""
    with app.state_store(report) as store:
        LiftStore(store).note(snapshot, infohash, datetime.now(UTC))
    facts = {"repo": str(snapshot.repo), "commit": str(snapshot.commit), "infohash_v2": str(infohash.v2)}
    with EventLog(app.home.root / "log") as log:
        log.write("trusted unverified", {**facts, "standing": "unvouched"})
