"""What an app plans from: the swarms that matter, what is remembered of them, what is pinned. Asks no network."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from p2pqwen.app import App
from p2pqwen.events import Report
from p2pqwen.index.withdrawals import all_withdrawn
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.adopt import disks_of
from p2pqwen.operations.archive.listed import Listed
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.archive.watched import WatchedSwarm, each_watched, watched_swarms
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId


def each_swarm(app: App, only: Collection[SnapshotId] | None = None) -> Iterator[WatchedSwarm]:
    """Iterate over the swarms that matter here, or those of `only`, without building a list."""
    return each_watched(app.library, app.trust.publishers(now=datetime.now(UTC)), app.vouchers.voices(), only=only)


def swarms(app: App) -> list[WatchedSwarm]:
    """Return the swarms that matter here: those of held snapshots and of trusted indexes' entries."""
    return watched_swarms(app.library, app.trust.publishers(now=datetime.now(UTC)), app.vouchers.voices())


def outlook(app: App, store: StateStore, report: Report) -> Outlook:
    """Return what a plan of what to hold starts from; the indexes are read on demand."""
    now = datetime.now(UTC)
    return Outlook(
        listed=Listed(app.trust.publishers(now=now, report=report), app.library.all(), report),
        records=HealthStore(store).all(),
        upstream=UpstreamStore(store).states(),
        said=all_withdrawn(app.vouchers.voices()),
        node=StewardStore(store).node_id(),
        disks=disks_of(app.library),
        now=now,
        away={one.id: one.size for one in app.library.away()},
        seed_withdrawn=SeedWithdrawn(app.config.network.seed_withdrawn),
    )


def pinned(store: StateStore) -> frozenset[SnapshotId]:
    """Return the snapshots that are kept whatever a plan says."""
    return frozenset(SnapshotId.parse(name) for name, choice in Choices(store).all().items() if choice.pinned)
