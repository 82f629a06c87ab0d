"""What the library holds, for `list`: sizes, states, hazards and standing, from each snapshot's torrent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from p2pqwen.events import Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.index.withdrawals import Withdrawn
from p2pqwen.library.snapshots import Library, State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.verify.standings import Standings, Stood
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.rise import Riser


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One held snapshot. `held_bytes` counts the wanted files out of `size`.

    `hazards` counts its pickle-format files, `provenance` is None without a manifest. `withdrawn`: who withdrew it, and
    why.
    """

    id: SnapshotId
    folder: Path
    state: State | Literal["away"]  # away: its disk is not connected
    size: int
    held_bytes: int
    hazards: int
    provenance: Provenance | None
    stood: Stood | None = None
    withdrawn: tuple[Withdrawn, ...] = ()


def inventory(
    library: Library, standings: Standings, report: Report = ignore, *, riser: Callable[[], Riser] | None = None
) -> list[InventoryRow]:
    """Describe every held snapshot; one whose torrent cannot be read is left out with a warning.

    With a `riser`, better torrents that trusted indexes list are first taken over, as far as they are on this disk. It
    is only made if a publisher is trusted and a held snapshot is not proven.
    """
    held, withdrawn = library.all(), standings.withdrawn()
    stood = standings.of(held, report)
    may_rise = any(one.standing is not Standing.PROVEN for one in stood.values()) and standings.voices()
    if riser is not None and may_rise:
        stood = riser().rise_all(held, standings, web=False, report=report)
    rows = []
    for one in held:
        if (found := stood.get(one.id)) is not None:
            facts = found.facts
            proof = None if facts.manifest is None else facts.provenance
            state = library.state(one, facts.infohash.v2, facts.size)
            whole = one.selected is None and one.state is not State.INCOMPLETE
            here = facts.size if whole else one.held_bytes(one.metainfo())
            rows.append(InventoryRow(one.id, one.folder, state, facts.size, here, facts.hazards, proof, found))
    away = library.away()
    before = standings.away(one.id for one in away)
    rows += [InventoryRow(one.id, one.folder, "away", one.size, one.size, 0, None, before.get(one.id)) for one in away]
    return sorted((replace(row, withdrawn=withdrawn.get(row.id, ())) for row in rows), key=lambda row: row.id)
