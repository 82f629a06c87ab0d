"""Snapshots, swarms and nodes by number."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.allocation import Candidate
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
GB = 10**9


def snapshot(number: int) -> SnapshotId:
    return SnapshotId(RepoId(f"Qwen/Model-{number}"), CommitId(hashlib.sha1(b"%d" % number).digest()))


def node(number: int) -> bytes:
    return hashlib.sha256(b"node %d" % number).digest()


def seen(seeds: int | None, peers: int | None = None, **more: Any) -> SwarmHealth:
    """A swarm looked at just now, whose Hub copy is gone."""
    return SwarmHealth(**{"seeds": seeds, "peers": peers, "looked": NOW, "upstream": Upstream.GONE, **more})


def candidate(number: int, seeds: int | None, size: int = 2 * GB, **more: Any) -> Candidate:
    return Candidate(snapshot(number), size, seen(seeds, web_seeds_ok=1 if seeds == 0 else None), **more)
