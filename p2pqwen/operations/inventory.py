"""What the library holds, for `list`: sizes, states and hazards, from each snapshot's torrent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library.snapshots import Library, State
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
    rows = []
    for held in library.all():
        try:
            metainfo = held.metainfo()
            manifest, provenance = signed_manifest(metainfo)
        except P2pqwenError as error:
            report(Notice("warning", f"{held.torrent_path}: {error.message}"))
            continue
        hazards = len(pickle_files(file.path for file in metainfo.layout.files))
        proof = None if manifest is None else provenance
        state = library.state(held, metainfo)
        rows.append(InventoryRow(held.id, held.folder, state, metainfo.layout.total_size, hazards, proof))
    rows += [InventoryRow(one.id, one.folder, "away", one.size, 0, None) for one in library.away()]
    return sorted(rows, key=lambda row: row.id)


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
