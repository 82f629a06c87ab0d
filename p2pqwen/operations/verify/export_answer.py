"""What `export --json` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.operations.verify.export import Exported
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class ExportAnswer:
    """What the folder holds. Sizes in bytes; `pads` is the number of pad files, `whole`: no file was left out."""

    snapshot: SnapshotId = field(metadata=FLAT)
    path: Path
    torrent: Path
    files: int
    size: int
    bytes_linked: int
    bytes_copied: int
    bytes_kept: int
    pads: int
    whole: bool

    @classmethod
    def of(cls, done: Exported) -> ExportAnswer:
        """Return the answer about an export."""
        return cls(
            snapshot=done.held.id,
            path=done.folder,
            torrent=done.torrent,
            files=done.files,
            size=done.size,
            bytes_linked=done.linked,
            bytes_copied=done.copied,
            bytes_kept=done.kept,
            pads=done.pads,
            whole=done.whole,
        )
