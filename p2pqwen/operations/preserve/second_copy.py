"""Report that a disk will hold a second copy of what is already on this machine, before it is made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from p2pqwen.events import Notice, Report
from p2pqwen.library.folders import bytes_to_write, device
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.snapshot_id import SnapshotId


def announce_second_copy(
    snapshot: SnapshotId, sources: Iterable[tuple[int, Path]], folder: Path, *, hard_links: bool, report: Report
) -> None:
    """Report how much of `sources`, pairs of size in bytes and path, is copied into `folder`, and why.

    Reports nothing if all of them are linked. Raises `DiskError`.
    """
    rows = list(sources)
    if not (size := bytes_to_write(rows, hard_links=hard_links)(folder)):
        return
    disk = device(folder)
    apart = any(device(source) != disk for _, source in rows)
    why = "they are on another disk" if apart else "this disk has no reflinks; --hard-links shares the files instead"
    report(Notice("info", f"{format_size(size)} of {snapshot} are copied, a second copy in {folder}: {why}"))
