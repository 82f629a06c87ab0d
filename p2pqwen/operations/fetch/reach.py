"""What a download may connect to: its session's settings, its trackers, and the relay of its web seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from p2pqwen.events import Notice, Report
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.plan import Leads, TorrentPlan
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.untrusted_links import inside, is_named
from p2pqwen.values.network_choices import SWITCHES
from p2pqwen.webseed.bases import Bases, combine_bases
from p2pqwen.webseed.policy import WebSeedUse

if TYPE_CHECKING:
    from p2pqwen.webseed.relay import RelayedTorrent


def session_settings(
    leads: Leads, peers: Sequence[Endpoint], options: FetchOptions, context: FetchContext
) -> SwarmSettings:
    """Return the settings of a session that fetches with these leads, from `peers` among others."""
    given = context.network
    if not options.use_peers:
        given = replace(given, choices=given.choices.without(*SWITCHES))
    # The relay is on loopback, so nearly every fetch needs it; a fetch from peers alone does not.
    return replace(given, loopback=given.loopback or options.use_web_seeds is not WebSeedUse.NEVER).with_room_for(
        peers, urls=leads.tracker_urls
    )


def without_inside_trackers(leads: Leads, options: FetchOptions, context: FetchContext, report: Report) -> Leads:
    """Remove trackers whose names resolve to the user's own network, unless the user named them."""
    network = context.network
    if not (leads.trackers and options.use_peers and network.choices.trackers) or network.proxy is not None:
        return leads  # the proxy resolves names; resolving them here would bypass it
    own = context.sources.named
    urls = [url for url in leads.tracker_urls if not is_named(url, own)]
    hosts = {url: urlsplit(url).hostname or "" for url in urls}
    refused = inside(hosts.values())
    for url in sorted(url for url, host in hosts.items() if host in refused):
        report(Notice("info", f"tracker {url} is left out: its name leads nowhere public"))
    tiers = (tuple(url for url in tier if hosts.get(url) not in refused) for tier in leads.trackers)
    return replace(leads, trackers=tuple(tier for tier in tiers if tier))


@contextmanager
def relay_of(
    plan: TorrentPlan, options: FetchOptions, context: FetchContext, report: Report
) -> Iterator[RelayedTorrent | None]:
    """Relay a torrent's web seeds for the length of the block; yields None if it has no usable ones."""
    bases = _bases(plan, options, context)
    for url, reason in bases.refused:
        report(Notice("warning", f"web seed {url} is left out: {reason}"))
    if not bases.usable:
        yield None
        return
    from p2pqwen.webseed.relay import Relay  # noqa: PLC0415 - imports aiohttp, which a fetch from peers does not need

    with Relay(site=context.site, named=context.sources.named) as relay:
        yield relay.offer(plan.metainfo, bases.usable)


def _bases(plan: TorrentPlan, options: FetchOptions, context: FetchContext) -> Bases:
    if options.use_web_seeds is WebSeedUse.NEVER:
        return Bases(())
    return combine_bases(
        plan.metainfo.name,
        plan.snapshot.repo,
        command_line=options.web_seeds,
        config=context.web_seed_bases,
        indexes=plan.leads.index_web_seeds,
        torrent=(*plan.metainfo.web_seeds, *plan.leads.extra_web_seeds),
        last=context.stand_ins(plan.snapshot.repo),
    )
