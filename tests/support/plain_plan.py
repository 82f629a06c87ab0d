"""The input of a plan in its most readable form, an object for each swarm: `Outlook` is compared with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from p2pqwen.index.entry import Entry, row_order
from p2pqwen.index.listing import EntryList
from p2pqwen.index.withdrawals import stops_seeding
from p2pqwen.library.snapshots import State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.archive.adopt import AWAY, CONTRADICTED, EXCLUDED, Wishes, matches_any, unlicensed, words_of
from p2pqwen.operations.archive.watched import HealthRow, WatchedSwarm
from p2pqwen.stewardship.allocation import Candidate, Disk
from p2pqwen.stewardship.rebalance import Holding
from p2pqwen.values.digest import Sha256
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId


def publisher_of(entries: Sequence[Entry]) -> TrustedPublisher:
    """Return a publisher whose accepted index lists these."""
    listed = sorted(entries, key=row_order)
    digest = Sha256.of("".join(f"{one.id} {one.upstream}" for one in listed).encode())
    document = SimpleNamespace(entries=listed, listing=EntryList(listed))
    accepted: Any = SimpleNamespace(document=document, digest=digest)
    state: Any = None
    return TrustedPublisher(Sha256.of(b"anybody"), (), state, accepted)


@dataclass(frozen=True, slots=True)
class Situation:
    """The input of a plan: every swarm that matters, this node's id, and its disks. Sizes in bytes.

    `away`: snapshots on missing disks, with their sizes. `contradicted`: those for which trusted publishers name
    different torrents. `seed_withdrawn`: which withdrawn snapshots this node serves; one that it serves, and that
    another publisher lists, is a candidate.
    """

    rows: Sequence[HealthRow]
    node: bytes
    disks: Sequence[Disk]
    now: datetime
    away: Mapping[SnapshotId, int] = field(default_factory=dict)
    contradicted: Collection[SnapshotId] = ()
    seed_withdrawn: SeedWithdrawn = SeedWithdrawn.OTHERS

    @property
    def held(self) -> list[HealthRow]:
        """The snapshots that this node holds."""
        return [row for row in self.rows if _is_held(row)]

    @property
    def used(self) -> int:
        """Bytes that count against a budget."""
        return sum(row.swarm.held_bytes for row in self.held) + sum(self.away.values())

    def candidates(self, wishes: Wishes) -> list[Candidate]:
        """Return what could be fetched: listed, but not here yet. Started fetches come before all others."""
        return [
            Candidate(
                row.swarm.snapshot,
                row.swarm.size,
                row.health,
                preferred=row.swarm.held is not None or _any(wishes.prefer, row.swarm.snapshot),
                refused=self._refusal(row.swarm, wishes),
                has_room=row.swarm.held is not None,
            )
            for row in self.rows
            if row.swarm.listed and not _is_held(row)
        ]

    def _refusal(self, swarm: WatchedSwarm, wishes: Wishes) -> str | None:
        snapshot = swarm.snapshot
        if snapshot in self.away:
            return AWAY
        if stops_seeding(swarm.withdrawn, self.seed_withdrawn):  # it would be fetched but not served
            return words_of(swarm.withdrawn)
        if _any(wishes.exclude, snapshot):
            return EXCLUDED
        if wishes.licenses and (reason := unlicensed(swarm.license, wishes.licenses)) is not None:
            return reason
        return CONTRADICTED if snapshot in self.contradicted else None

    def holdings(self, pinned: Collection[SnapshotId], since: datetime) -> list[Holding]:
        """Return what may be given up: whole snapshots that are here since then."""
        return [
            Holding(
                row.swarm.snapshot,
                row.swarm.size,
                since,
                row.health,
                pinned=row.swarm.snapshot in pinned,
                listed=row.swarm.listed,
                withdrawn="; ".join(map(str, row.swarm.withdrawn)),
            )
            for row in self.held
            if row.swarm.held is not None and row.swarm.held.state is State.COMPLETE
        ]


def _is_held(row: HealthRow) -> bool:
    return row.swarm.held is not None and row.swarm.held.state is not State.INCOMPLETE


def _any(patterns: Sequence[str], snapshot: SnapshotId) -> bool:
    return bool(patterns) and matches_any(patterns, str(snapshot.repo))
