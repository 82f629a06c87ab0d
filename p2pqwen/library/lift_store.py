"""Snapshots that a user trusted unverified (`--trust-unverified`), in the state store: `unverified/<snapshot>`.

The record permits nothing: each command needs the option again. It answers a later question: how did an unvouched
snapshot get to where other programs find it? It counts only for the torrent that was trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.utc_time import format_time

if TYPE_CHECKING:
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.torrent.infohash import InfoHash

_PREFIX = "unverified/"


class LiftStore:
    """The records of one home. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def note(self, snapshot: SnapshotId, infohash: InfoHash, now: datetime) -> None:
        """Record that this torrent was accepted for the snapshot on the user's word alone."""
        self._store.put(f"{_PREFIX}{snapshot}", {"infohash_v2": str(infohash.v2), "time": format_time(now)})

    def all(self) -> dict[SnapshotId, Sha256]:
        """Return the v2 infohash of every torrent that was trusted unverified."""
        read = {SnapshotId.parse(name): _read(value) for name, value in self._store.items(_PREFIX).items()}
        return {snapshot: infohash for snapshot, infohash in read.items() if infohash is not None}


def _read(value: Mapping[str, Any]) -> Sha256 | None:
    try:
        return Sha256.parse(value["infohash_v2"])
    except (KeyError, TypeError, FormatError):
        return None
