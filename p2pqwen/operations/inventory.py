"""What the library holds, for `list`: sizes, states and hazards, from each snapshot's torrent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from p2pqwen.containment import each, warn
from p2pqwen.events import Report, ignore
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.hazards import pickle_files
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.verify import signed_manifest
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One held snapshot; `hazards` counts its pickle-format files, `provenance` is None without a manifest."""

    id: SnapshotId
    folder: Path
    state: State | Literal["away"]  # away: its disk is not here
    size: int
    hazards: int
    provenance: Provenance | None


def inventory(library: Library, report: Report = ignore) -> list[InventoryRow]:
    """Describe every held snapshot; one whose torrent cannot be read is warned about and left out."""
    rows = each(library.all(), _row, failed=warn(report, attrgetter("torrent_path")))
    rows += [InventoryRow(one.id, one.folder, "away", one.size, 0, None) for one in library.away()]
    return sorted(rows, key=lambda row: row.id)


def _row(held: HeldSnapshot) -> InventoryRow:
    metainfo = held.metainfo()
    manifest, provenance = signed_manifest(metainfo)
    hazards = len(pickle_files(file.path for file in metainfo.layout.files))
    proof = None if manifest is None else provenance
    return InventoryRow(held.id, held.folder, held.state, metainfo.layout.total_size, hazards, proof)


def inventory_fields(rows: Iterable[InventoryRow]) -> list[dict[str, Any]]:
    """Return the rows of `list --json`."""
    return [
        {
            "repo": str(one.id.repo),
            "commit": str(one.id.commit),
            "size": one.size,
            "path": str(one.folder),
            "state": str(one.state),
            "provenance": None if one.provenance is None else str(one.provenance),
            "hazards": one.hazards,
        }
        for one in rows
    ]
