"""What the library holds, for `list`: sizes, states, hazards and standing, from what each snapshot's torrent says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from p2pqwen.events import Report, ignore
from p2pqwen.library.snapshots import Library, State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.indexes.rise import Riser
from p2pqwen.operations.verify.standings import Standings, Stood, standing_fields
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One held snapshot. `held_bytes` of `size` are those of the files to have.

    `hazards` counts its pickle-format files, `provenance` is None without a manifest.
    """

    id: SnapshotId
    folder: Path
    state: State | Literal["away"]  # away: its disk is not here
    size: int
    held_bytes: int
    hazards: int
    provenance: Provenance | None
    stood: Stood | None = None


def inventory(
    library: Library, standings: Standings, report: Report = ignore, *, riser: Riser | None = None
) -> list[InventoryRow]:
    """Describe every held snapshot; one whose torrent cannot be read is warned about and left out.

    With a `riser` what a trusted index says more of a snapshot is taken first, as far as it is on this disk.
    """
    held = library.all()
    stood = standings.of(held, report) if riser is None else riser.rise_all(held, standings, web=False, report=report)
    rows = []
    for one in held:
        if (found := stood.get(one.id)) is not None:
            facts = found.facts
            proof = None if facts.manifest is None else facts.provenance
            state = library.state(one, facts.infohash.v2, facts.size)
            here = facts.size if one.selected is None else one.held_bytes(one.metainfo())
            rows.append(InventoryRow(one.id, one.folder, state, facts.size, here, facts.hazards, proof, found))
    away = library.away()
    before = standings.away(one.id for one in away)
    rows += [InventoryRow(one.id, one.folder, "away", one.size, one.size, 0, None, before.get(one.id)) for one in away]
    return sorted(rows, key=lambda row: row.id)


def inventory_fields(rows: Iterable[InventoryRow]) -> list[dict[str, Any]]:
    """Return the rows of `list --json`."""
    return [
        {
            "repo": str(one.id.repo),
            "commit": str(one.id.commit),
            "size": one.size,
            "held_bytes": one.held_bytes,
            "path": str(one.folder),
            "state": str(one.state),
            "provenance": None if one.provenance is None else str(one.provenance),
            **standing_fields(one.stood),
            "hazards": one.hazards,
        }
        for one in rows
    ]
