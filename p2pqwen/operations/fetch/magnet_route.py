"""From an infohash to a torrent: metadata from peers, or the snapshot rebuilt from the source that a link names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pqwen.errors import NetworkError, NotFoundError
from p2pqwen.events import Notice, Report
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.held import HeldGuard
from p2pqwen.operations.fetch.metadata import KeptMetadata, NoMetadataError, ask_peers
from p2pqwen.operations.fetch.peers import PeerBook
from p2pqwen.operations.fetch.plan import MagnetPlan, TorrentPlan, complete, plan_of
from p2pqwen.operations.preserve.recipe_source import RecipeSource, recipe_sources
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.host import is_private_url
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.policy import WebSeedUse

if TYPE_CHECKING:
    from p2pqwen.operations.preserve.rebuild import Rebuilt

METADATA_SECONDS = 45.0
"""How long to ask peers for a torrent that could be rebuilt from its source instead."""


class MagnetRoute:
    """Finds the torrent of a magnet plan. Metadata from peers is kept until `forget`, so the next try needs no peer."""

    def __init__(
        self, options: FetchOptions, context: FetchContext, guard: HeldGuard, peers: PeerBook, report: Report
    ) -> None:
        self._options, self._context, self._guard, self._peers = options, context, guard, peers
        self._report = report
        self._kept = KeptMetadata(context.home)

    def kept(self, plan: MagnetPlan) -> TorrentPlan | None:
        """Return a plan from the metadata of an earlier try, None if there is none."""
        metainfo = self._kept.find(plan.v1, plan.v2)
        return None if metainfo is None else complete(plan, metainfo, self._context.sources)

    def forget(self, metainfo: Metainfo) -> None:
        """Remove the kept metadata: the snapshot is now held."""
        self._kept.forget(metainfo)

    def from_peers(self, swarm: Swarm, plan: MagnetPlan, peers: list[Endpoint]) -> tuple[TorrentPlan, list[Endpoint]]:
        """Ask peers for the metadata; also returns the peers to ask for the rest. Raises `NoMetadataError`."""
        if not self._options.use_peers:
            raise NoMetadataError("only peers have the torrent, and --only-web-seeds forbids asking them")
        asked = list(dict.fromkeys([*peers, *self._peers.remembered(plan), *self._peers.followers(plan)]))
        timeout = self._options.timeout
        if self._recipe_sources(plan):
            choices = self._context.network.choices
            if not (asked or choices.dht or choices.lsd or (choices.trackers and plan.leads.trackers)):
                raise NoMetadataError("no peer is named, and no way of finding one is switched on")
            timeout = min(timeout, METADATA_SECONDS)
        metainfo, connected = ask_peers(swarm, plan, asked, timeout=timeout, report=self._report)
        found = complete(plan, metainfo, self._context.sources)
        self._kept.keep(metainfo)
        self._peers.remember(found, connected)
        return found, list(dict.fromkeys([*connected, *peers]))  # those that answered come first

    def _recipe_sources(self, plan: MagnetPlan) -> tuple[RecipeSource, ...]:
        """Return the sources that may serve what a magnet names; none if web seeds are switched off."""
        never = self._options.use_web_seeds is WebSeedUse.NEVER
        if self._context.rebuild is None or never:
            return ()
        endpoint = self._context.site.endpoint.rstrip("/")
        found = recipe_sources(plan.magnet, self._options.repo, endpoint)
        # A stranger's link must not send us into the user's own network.
        return tuple(one for one in found if one.endpoint == endpoint or not is_private_url(one.endpoint))

    def rebuilt(
        self, plan: MagnetPlan, problem: NoMetadataError, on_plan: Callable[[SnapshotId], None]
    ) -> tuple[TorrentPlan, Rebuilt]:
        """Rebuild the snapshot from the source that its magnet names, if that yields the requested torrent.

        Raises `problem` if there is no such source, `NetworkError` if none serves it.
        """
        sources = self._recipe_sources(plan)
        if not sources or self._context.rebuild is None:
            raise problem
        if self._options.include is not None:
            raise NoMetadataError(
                f"{problem.message}; rebuilding it from {sources[0].endpoint} needs every file",
                hint="fetch the whole snapshot, without --include",
            ) from problem
        if plan.entry is None and not self._options.trust_unverified:
            self._guard.refuse_unlisted(
                plan, sources[0].snapshot, "which no index names"
            )  # the recipe gives it exactly one torrent
        self._report(Notice("warning", problem.message))
        on_plan(sources[0].snapshot)
        try:
            done = self._context.rebuild(WantedTorrent.of(plan.magnet), sources, self._report)
        except (NetworkError, NotFoundError) as error:
            raise NetworkError(f"{problem.what}, and no source serves it either", got=error.message) from error
        checked = plan_of(
            done.preserved.torrent,
            self._context.sources,
            repo=done.preserved.held.id.repo,
            route="the infohash" if plan.route == "peers" else plan.route,
            origin=f"rebuilt by the recipe from {done.source.endpoint}",
        )
        return checked, done
