"""What `status` shows of the archive that a node keeps by itself (`keeper`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from p2pqwen.library.steward_store import StewardStore
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class ArchiveAnswer:
    """`archive` of `status --json`: the budget in bytes, what the node adopted within it, and when it last planned."""

    budget: int
    adopted: tuple[SnapshotId, ...]
    planned: datetime

    @classmethod
    def of(cls, memory: StewardStore) -> ArchiveAnswer | None:
        """Return what is remembered; None if no node of this home ever planned by itself."""
        budget, planned = memory.budget(), memory.planned()
        if budget is None or planned is None:
            return None
        return cls(budget, tuple(sorted(memory.adopted())), planned)

    @property
    def words(self) -> str:
        """Return the line of `status`."""
        adopted = plural(len(self.adopted), "snapshot")
        return f"archive    {adopted} adopted within {format_size(self.budget)}; planned {self.planned:%Y-%m-%d %H:%M}"
