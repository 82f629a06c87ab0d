"""A manifest without its rows, for judging a snapshot's standing."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class ShownManifest:
    """A torrent's manifest: the snapshot that it names, and its digest.

    `of_bytes`: it was made here from the verified bytes, so it is nobody else's claim.
    """

    snapshot: SnapshotId
    digest: Sha256
    of_bytes: bool = False
