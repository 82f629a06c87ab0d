"""What the library holds, for `list`: sizes, states, hazards and standing, from each snapshot's torrent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from p2pqwen.containment import each, warn
from p2pqwen.events import Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.index.withdrawals import Withdrawn, WithdrawnAnswer
from p2pqwen.library.snapshots import Library, State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.archive.upstream_answer import UpstreamAnswer
from p2pqwen.operations.verify.file_answer import FileAnswer, HeldFileAnswer, HeldFilesShown
from p2pqwen.operations.verify.standings import StandingAnswer, Standings, Stood
from p2pqwen.stewardship.upstream import UpstreamRecord
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.rise import Riser

NOT_SHOWN: Mapping[SnapshotId, HeldFilesShown] = MappingProxyType({})
"""Shows no files."""


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
    is only made if a held snapshot is not proven.
    """
    held, withdrawn = library.all(), standings.withdrawn()
    stood = standings.of(held, report)
    if riser is not None and any(one.standing is not Standing.PROVEN for one in stood.values()):
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


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """A held snapshot, as `list --json` shows it; `hazards` counts its pickle-format files."""

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int
    held_bytes: int
    path: Path
    state: State | Literal["away"]
    provenance: Provenance | None
    standing: StandingAnswer = field(metadata=FLAT)
    hazards: int
    upstream: UpstreamAnswer = field(metadata=FLAT)
    withdrawn: tuple[WithdrawnAnswer, ...]
    shown: HeldFilesShown | None = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class InventoryAnswer:
    """The answer of `list --json`."""

    snapshots: tuple[HeldAnswer, ...]

    @classmethod
    def of(
        cls,
        rows: Iterable[InventoryRow],
        upstream: Mapping[SnapshotId, UpstreamRecord],
        files: Mapping[SnapshotId, HeldFilesShown] = NOT_SHOWN,
    ) -> InventoryAnswer:
        """Return the rows with what is known of each on the Hub, and with its `files`, if given."""
        return cls(
            tuple(
                HeldAnswer(
                    one.id,
                    one.size,
                    one.held_bytes,
                    one.folder,
                    one.state,
                    one.provenance,
                    StandingAnswer.of(one.stood),
                    one.hazards,
                    UpstreamAnswer.of(upstream.get(one.id)),
                    tuple(said.answer for said in one.withdrawn),
                    files.get(one.id),
                )
                for one in rows
            )
        )
