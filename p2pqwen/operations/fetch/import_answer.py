"""The answer of `library import --json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.library.snapshots import State
from p2pqwen.operations.fetch.import_folder import Import, Imported
from p2pqwen.operations.verify.standing_answer import StandingAnswer
from p2pqwen.operations.verify.standings import Stood
from p2pqwen.operations.verify.verify import BadFile
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class ImportedAnswer:
    """One snapshot after the import. Sizes in bytes; `ignored` are files that it does not have."""

    snapshot: SnapshotId = field(metadata=FLAT)
    path: Path
    source: str
    state: State
    size: int
    bytes_linked: int
    bytes_copied: int
    bytes_missing: int
    bad: tuple[BadFile, ...]
    ignored: tuple[str, ...]
    unchanged: bool
    warnings: tuple[str, ...]
    standing: StandingAnswer = field(metadata=FLAT)

    @classmethod
    def of(cls, one: Imported, stood: Stood | None) -> ImportedAnswer:
        """Return the answer about a snapshot."""
        return cls(
            snapshot=one.held.id,
            path=one.held.folder,
            source=one.source,
            state=one.held.state,
            size=one.size,
            bytes_linked=one.linked,
            bytes_copied=one.copied,
            bytes_missing=one.missing,
            bad=one.bad,
            ignored=one.ignored,
            unchanged=one.unchanged,
            warnings=one.warnings,
            standing=StandingAnswer.of(stood),
        )


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A source in which nothing was recognised, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """What an import did."""

    imported: tuple[ImportedAnswer, ...]
    unmatched: tuple[Unmatched, ...]

    @classmethod
    def of(cls, done: Import, stood: Mapping[SnapshotId, Stood]) -> ImportAnswer:
        """Return the answer about an import; `stood` holds the standing of its snapshots."""
        imported = tuple(ImportedAnswer.of(one, stood.get(one.held.id)) for one in done.imported)
        return cls(imported, tuple(Unmatched(*one) for one in done.unmatched))
