"""What an app plans from: the swarms that matter, what is remembered of them, what is kept. Nobody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from p2pqwen.app import App
from p2pqwen.events import Report
from p2pqwen.index.withdrawals import all_withdrawn
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.adopt import Situation, contradictions, disks_of
from p2pqwen.operations.archive.outlook import Outlook, kept_here, listed_columns
from p2pqwen.operations.archive.watched import WatchedSwarm, each_watched, health_rows, watched_swarms
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId


def each_swarm(app: App) -> Iterator[WatchedSwarm]:
    """Go through the swarms that matter here, without a list of them."""
    return each_watched(app.library, app.trust.publishers(now=datetime.now(UTC)), app.vouchers.voices())


def swarms(app: App) -> list[WatchedSwarm]:
    """Return the swarms that matter here: what is held, and what trusted indexes list."""
    return watched_swarms(app.library, app.trust.publishers(now=datetime.now(UTC)), app.vouchers.voices())


def situation(app: App, store: StateStore, report: Report) -> Situation:
    """Return what a plan of what to hold starts from."""
    now = datetime.now(UTC)
    publishers = app.trust.publishers(now=now, report=report)
    swarms = watched_swarms(app.library, publishers, app.vouchers.voices(), report)
    return Situation(
        rows=health_rows(swarms, HealthStore(store).all(), UpstreamStore(store).states(), now),
        node=StewardStore(store).node_id(),
        disks=disks_of(app.library),
        now=now,
        away={one.id: one.size for one in app.library.away()},
        contradicted=contradictions(publishers),
        seed_withdrawn=SeedWithdrawn(app.config.network.seed_withdrawn),
    )


def outlook(app: App, store: StateStore, report: Report) -> Outlook:
    """Return what a plan of what to take starts from: what `situation` says, without an object for each snapshot."""
    now = datetime.now(UTC)
    publishers = app.trust.publishers(now=now, report=report)
    listed = listed_columns(publishers)
    return Outlook(
        listed=listed,
        kept=kept_here(app.library, listed, report),
        records=HealthStore(store).all(),
        upstream=UpstreamStore(store).states(),
        said=all_withdrawn(app.vouchers.voices()),
        node=StewardStore(store).node_id(),
        disks=disks_of(app.library),
        now=now,
        away={one.id: one.size for one in app.library.away()},
        contradicted=contradictions(publishers),
        seed_withdrawn=SeedWithdrawn(app.config.network.seed_withdrawn),
    )


def pinned(store: StateStore) -> frozenset[SnapshotId]:
    """Return the snapshots that are kept whatever happens."""
    return frozenset(SnapshotId.parse(name) for name, choice in Choices(store).all().items() if choice.pinned)
