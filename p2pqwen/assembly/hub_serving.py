"""How an app serves the hub endpoint: the catalogue of its library and trusted indexes, behind HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from p2pqwen.app import App
from p2pqwen.assembly import fetching
from p2pqwen.config.settings import DEFAULT_ENDPOINT
from p2pqwen.errors import NetworkError, P2pqwenError, UsageError
from p2pqwen.events import Happened, Report
from p2pqwen.hidden import hide
from p2pqwen.library import durable, endpoint_file
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.manifest import git_sha1
from p2pqwen.operations.archive.upstream import note_upstream
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.plan import TorrentPlan, make_plan
from p2pqwen.operations.fetch.target import NamedTarget
from p2pqwen.operations.hub_endpoint.catalogue import HubCatalogue, ListedSources
from p2pqwen.operations.hub_endpoint.git import GitService
from p2pqwen.operations.hub_endpoint.keeping import Keeper
from p2pqwen.operations.hub_endpoint.names import MainWords
from p2pqwen.operations.hub_endpoint.on_demand import BringOptions, OnDemand
from p2pqwen.operations.node.limits import allowance, lower_rate
from p2pqwen.operations.node.preferences import Choices, Transfer
from p2pqwen.operations.preserve.from_origin import PreserveOptions, preserve
from p2pqwen.operations.verify.scrub import damage_found
from p2pqwen.server.hub_access import HubAccess, parse_networks
from p2pqwen.server.hub_endpoint import HubEndpoint, HubServerSettings
from p2pqwen.server.hub_upstream import HubUpstream
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.digest import CommitId
from p2pqwen.values.named_hosts import Guard, NamedHosts
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.webseed.policy import WebSeedUse

MAX_TOKEN = 4096
_LEAST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class HubWishes:
    """What a user wants of the endpoint. `beyond`: it may listen on addresses other than loopback.

    `upstream` and `abandoned` are as in `HubEndpointConfig`.
    """

    listen: Endpoint
    access: HubAccess = field(default_factory=HubAccess)
    beyond: bool = False
    peers: tuple[Endpoint, ...] = ()
    choices: NetworkChoices = UNRESTRICTED
    upstream: str = "never"
    abandoned: str = "finish"
    timeout: timedelta = timedelta(minutes=1)

    def server_settings(self) -> HubServerSettings:
        """Return where it listens; raises `UsageError` beyond loopback without both `beyond` and access rules."""
        where = self.listen.resolve()
        if not where.is_loopback and not (self.beyond and self.access.is_open_beyond):
            raise UsageError(
                f"other machines may reach {self.listen}",
                expected="127.0.0.1, or --beyond-loopback with --token-file FILE or --allow NETWORK",
                hint="anyone who reaches it can read what it serves; name who may",
            )
        return HubServerSettings(where.host, where.port, self.access)


def configured(app: App, choices: NetworkChoices, *, listen: str | None = None) -> HubWishes | None:
    """Return the wishes of [hub_endpoint] in config.toml, at `listen` if given; None if neither names an address.

    Raises `UsageError`, `NotFoundError` and `DiskError` for a token that cannot be read.
    """
    wanted = app.config.hub_endpoint
    where = listen or wanted.listen
    if where is None:
        return None
    return HubWishes(
        listen=Endpoint.parse(where, allow_port_zero=True),
        access=read_access(wanted.token_file, wanted.allow, wanted.hosts),
        beyond=wanted.beyond_loopback,
        peers=tuple(Endpoint.parse(text) for text in wanted.peers),
        choices=choices,
        upstream=wanted.upstream,
        abandoned=wanted.abandoned,
        timeout=wanted.timeout,
    )


def read_access(token_file: Path | None, allow: Sequence[str], hosts: Sequence[str]) -> HubAccess:
    """Return who may ask; raises `UsageError` for an invalid token or network, `NotFoundError`, `DiskError`."""
    token = None
    if token_file is not None:
        token = durable.read(token_file, max_bytes=MAX_TOKEN).decode("utf-8", "replace").strip()
        if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
            expected = f"{_LEAST_TOKEN} printable ASCII characters or more"
            raise UsageError(f"{token_file} holds no token", expected=expected)
        hide(token)
    return HubAccess(token, parse_networks(allow), frozenset(name.lower() for name in hosts))


@contextmanager
def hub_endpoint(app: App, store: StateStore, wishes: HubWishes, report: Report) -> Iterator[HubEndpoint]:
    """Serve the endpoint for the length of the block and report its URL; raises `UsageError`, `P2pqwenError`."""
    settings = wishes.server_settings()
    threading.Thread(target=git_sha1.load, name="load git", daemon=True).start()  # to prove the first torrent
    bringing = _Bringing(app, store, wishes, report)
    on_demand = OnDemand(bringing.context, bringing.options(), bringing.count, report)
    catalogue = HubCatalogue(
        app.library,
        app.standings(store),
        app.vouchers.voices,
        _words(app, store),
        ListedSources(bringing.plan, on_demand),
        report,
    )
    base = _hub_of(app, wishes)
    keeper = Keeper(partial(_preserve, app, store, base, report), report)
    try:
        upstream = _upstream(app, wishes, base, keeper)
        server = HubEndpoint(catalogue, settings, git=GitService(catalogue), upstream=upstream)
        keeper.start()
        with server as endpoint, endpoint_file.named(app.home, endpoint.url):
            report(Happened("hub", {"url": endpoint.url}))
            yield endpoint
    finally:
        keeper.stop()
        on_demand.close()
        catalogue.close()


@dataclass(frozen=True, slots=True)
class _Bringing:
    """Finds and downloads what the library lacks, within the user's current limits."""

    app: App
    store: StateStore
    wishes: HubWishes
    report: Report

    def options(self) -> BringOptions:
        """Return how files are downloaded."""
        use = WebSeedUse(self.app.config.network.web_seeds)
        fetch = FetchOptions(peers=self.wishes.peers, use_web_seeds=use, into_hub_cache=False)
        abandoned: Literal["finish", "stop"] = "stop" if self.wishes.abandoned == "stop" else "finish"
        return BringOptions(fetch, timeout=self.wishes.timeout.total_seconds(), abandoned=abandoned)

    def context(self) -> FetchContext:
        """Return where a download reads and writes; raises `NetworkError` while the user's limits forbid transfers."""
        now, choices = datetime.now().astimezone(), Choices(self.store)
        used = choices.month(now).uploaded
        allowed = allowance(choices.limits(), now=now, uploaded_this_month=used)
        if not allowed.may_transfer:
            raise NetworkError(f"your limits forbid transfers now: {allowed.reason}", hint="see `p2pqwen limits`")
        given = self.wishes.choices
        limited = given.limited(
            upload=lower_rate(given.upload_limit, allowed.upload_of_fetches),
            download=lower_rate(given.download_limit, allowed.download),
        )
        return self._context(limited)

    def plan(self, snapshot: SnapshotId) -> TorrentPlan:
        """Return a listed snapshot's torrent; raises `NotFoundError`, `NetworkError`, `VerificationError`."""
        sources = self._context(self.wishes.choices).sources
        found = make_plan(NamedTarget(snapshot.repo, snapshot.commit), sources, repo=None, report=self.report)
        if not isinstance(found, TorrentPlan):
            raise NetworkError(f"nobody has the torrent of {snapshot}", hint=f"`p2pqwen fetch {snapshot}` asks peers")
        return found

    def count(self, snapshot: SnapshotId, uploaded: int, downloaded: int) -> None:
        """Record the bytes that a download moved."""
        with suppress(P2pqwenError):
            Choices(self.store).count({snapshot: Transfer(uploaded, downloaded)}, datetime.now().astimezone())

    def _context(self, choices: NetworkChoices) -> FetchContext:
        return fetching.fetch_context(
            self.app,
            fetching.swarm_settings(self.app, choices),
            self.report,
            peers=self.wishes.peers,
            publishers=self.app.vouchers.publishers(self.report),
        )


def _hub_of(app: App, wishes: HubWishes) -> str:
    """Return the Hub's URL: the public one if HF_ENDPOINT leads back to this endpoint."""
    base = app.config.hub.endpoint
    parts = urlsplit(base)
    here = parts.port == wishes.listen.port and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return DEFAULT_ENDPOINT if here else base


def _upstream(app: App, wishes: HubWishes, base: str, keeper: Keeper) -> HubUpstream | None:
    """Return the Hub, which is asked for what nobody else has; None if the user wants none."""
    if wishes.upstream == "never":
        return None
    named = app.named_hosts | NamedHosts.configured([base])
    passed = keeper.keep if wishes.upstream == "keep" else lambda _: None
    return HubUpstream(base, Guard(named), wishes.access.token, passed)


def _preserve(app: App, store: StateStore, base: str, report: Report, snapshot: SnapshotId) -> None:
    """Preserve a snapshot from the Hub; raises as `preserve` does."""
    options = PreserveOptions(known_damage=damage_found(store))
    done = preserve(
        snapshot.repo,
        str(snapshot.commit),
        origin=app.open_origin(base, report),
        cache=app.hub_cache,
        library=app.library,
        options=options,
        report=report,
    )
    note_upstream(UpstreamStore(store), done.held.id, shown=True, now=datetime.now(UTC), report=report)


def _words(app: App, store: StateStore) -> MainWords:
    upstream = UpstreamStore(store)

    def cache_main(repo: RepoId) -> CommitId | None:
        try:
            ref = app.hub_cache.ref(repo, "main")
            return None if ref is None or ref.commit is None else CommitId.parse(ref.commit)
        except P2pqwenError:  # a cache that cannot be read says nothing
            return None

    def shown_at(snapshot: SnapshotId) -> datetime | None:
        record = upstream.get(snapshot)
        return None if record is None else record.last_present

    return MainWords(cache_main, shown_at)
