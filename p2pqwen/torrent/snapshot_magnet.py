"""The magnet link of a .torrent."""

from __future__ import annotations

from p2pqwen.torrent.magnet import Magnet
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.snapshot_id import SnapshotId


def magnet_of(metainfo: Metainfo, snapshot: SnapshotId | None) -> Magnet:
    """Return the link of a torrent with its web seeds and trackers, named after its snapshot if that is known."""
    name = metainfo.name if snapshot is None else str(snapshot)
    return Magnet(
        infohash_v1=metainfo.infohash.v1,
        infohash_v2=metainfo.infohash.v2,
        name=name if name.isprintable() else None,
        size=metainfo.layout.total_size,
        web_seeds=metainfo.web_seeds,
        trackers=tuple(dict.fromkeys(url for tier in metainfo.trackers for url in tier)),
    )
