"""The JSON of the library's snapshots, for `list --json` and the node's own API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from p2pqwen.index.withdrawals import WithdrawnAnswer
from p2pqwen.library.snapshots import State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.archive.upstream_answer import UpstreamAnswer
from p2pqwen.operations.control.inventory import InventoryRow
from p2pqwen.operations.verify.file_answer import HeldFilesShown
from p2pqwen.operations.verify.standing_answer import StandingAnswer
from p2pqwen.stewardship.upstream import UpstreamRecord
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId

_NOT_SHOWN: Mapping[SnapshotId, HeldFilesShown] = MappingProxyType({})


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
        files: Mapping[SnapshotId, HeldFilesShown] = _NOT_SHOWN,
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
