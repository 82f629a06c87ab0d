"""How an app serves the Hub's place: the catalogue of its library and trusted indexes, behind the HTTP endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.app import App
from p2pqwen.errors import P2pqwenError, UsageError
from p2pqwen.events import Happened, Report
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.hub_endpoint.catalogue import HubCatalogue
from p2pqwen.operations.hub_endpoint.names import MainWords
from p2pqwen.server.hub_access import HubAccess
from p2pqwen.server.hub_endpoint import HubEndpoint, HubServerSettings
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.digest import CommitId
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


@dataclass(frozen=True, slots=True)
class HubWishes:
    """What a user wants of the endpoint. `beyond`: other addresses than loopback may be listened on."""

    listen: Endpoint
    access: HubAccess = field(default_factory=HubAccess)
    beyond: bool = False
    peers: tuple[Endpoint, ...] = ()
    choices: NetworkChoices = UNRESTRICTED
    upstream: bool = True

    def server_settings(self) -> HubServerSettings:
        """Return where it listens; raises `UsageError` for an address beyond loopback that was not asked for twice."""
        where = self.listen.resolve()
        if not where.is_loopback and not (self.beyond and self.access.is_open_beyond):
            raise UsageError(
                f"{self.listen} is not an address of this machine alone",
                expected="127.0.0.1, or --beyond-loopback with --token-file FILE or --allow NETWORK",
                hint="what is served there is yours to show: name who may ask for it",
            )
        return HubServerSettings(where.host, where.port, self.access)


@contextmanager
def hub_endpoint(app: App, store: StateStore, wishes: HubWishes, report: Report) -> Iterator[HubEndpoint]:
    """Serve the Hub's place for the length of the block, and tell where; raises `UsageError`, `P2pqwenError`."""
    settings = wishes.server_settings()
    catalogue = HubCatalogue(app.library, app.standings(store), app.vouchers.voices, _words(app, store), None, report)
    try:
        with HubEndpoint(catalogue, settings) as endpoint:
            report(Happened("hub", {"url": endpoint.url}))
            yield endpoint
    finally:
        catalogue.close()


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
