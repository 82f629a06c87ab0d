"""Warn publishers of file names that other BitTorrent clients cannot request from web seeds."""

from __future__ import annotations

from collections.abc import Container, Sequence

from p2pqwen.containment import each
from p2pqwen.events import Notice, Report
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.torrent.web_seed_names import cut_by_clients
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import SnapshotId


def warn_of_cut_names(held: Sequence[HeldSnapshot], listed: Container[SnapshotId], report: Report) -> None:
    """Warn of snapshots that are listed for the first time; one that cannot be read is refused elsewhere."""

    def warn(one: HeldSnapshot) -> None:
        if names := cut_by_clients(file.path for file in one.metainfo().files):
            report(
                Notice(
                    "warning",
                    f"{one.id}: Transmission and webtorrent cannot ask a web seed for {plural(len(names), 'file')} "
                    f"with #, %, [ or ] in the name, {names[0]} first: they need peers that have it",
                )
            )

    each((one for one in held if one.id not in listed), warn, failed=lambda *_: None)
