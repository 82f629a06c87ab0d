"""What a manifest comes to for those who judge it, without its rows."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class ShownManifest:
    """A manifest as a torrent shows it: the snapshot it names, and its digest.

    `of_bytes`: it is what a reader makes of the verified bytes itself, so that it is the word of no stranger.
    """

    snapshot: SnapshotId
    digest: Sha256
    of_bytes: bool = False
