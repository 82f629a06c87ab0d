"""The files of what the library holds, for `list --files`."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from p2pqwen.containment import each, warn
from p2pqwen.events import Report
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.control.inventory import InventoryRow
from p2pqwen.operations.verify.file_answer import FileAnswer, HeldFileAnswer, HeldFilesShown
from p2pqwen.values.snapshot_id import SnapshotId


def held_files(library: Library, rows: Iterable[InventoryRow], report: Report) -> dict[SnapshotId, HeldFilesShown]:
    """Return the files of held snapshots, None for those that are away or whose torrents cannot be read."""

    def files(row: InventoryRow) -> tuple[SnapshotId, HeldFilesShown]:
        held = library.get(row.id)
        if held is None:
            return row.id, HeldFilesShown(None)
        metainfo = held.metainfo()
        said = zip(metainfo.files, FileAnswer.all(metainfo, row.id.repo), strict=True)
        return row.id, HeldFilesShown(tuple(HeldFileAnswer(one, held.wants(file.path)) for file, one in said))

    named = list(rows)
    found = dict(each(named, files, failed=warn(report, attrgetter("id"))))
    return {row.id: found.get(row.id, HeldFilesShown(None)) for row in named}
