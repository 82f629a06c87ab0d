"""What trusted publishers have withdrawn, and what follows from that here (torrents/SPEC.md, section 7).

A withdrawal is a publisher's statement about its own list: it deletes no copies and takes nothing off another
publisher's list. Readers report it, and a node's owner decides whether the node keeps serving the snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pqwen.values.digest import Sha256
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

if TYPE_CHECKING:
    from p2pqwen.index.voice import Voice


@dataclass(frozen=True, slots=True)
class WithdrawnAnswer:
    """Who withdrew a snapshot, and why, for JSON."""

    publisher: Sha256
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """One publisher's withdrawal of a snapshot. `own`: it is this home's publisher."""

    snapshot: SnapshotId
    publisher: Sha256
    name: str
    reason: str
    own: bool

    def __str__(self) -> str:
        return f"withdrawn by {self.name}: {self.reason or 'no reason given'}"

    @property
    def answer(self) -> WithdrawnAnswer:
        """The row of `withdrawn`."""
        return WithdrawnAnswer(self.publisher, self.name, self.reason)


def withdrawn_by(voices: Iterable[Voice], snapshot: SnapshotId) -> tuple[Withdrawn, ...]:
    """Return who withdrew a snapshot, and why."""
    return tuple(
        Withdrawn(snapshot, voice.publisher, voice.name, voice.withdrawn[snapshot], voice.own)
        for voice in voices
        if snapshot in voice.withdrawn
    )


def all_withdrawn(voices: Iterable[Voice]) -> Mapping[SnapshotId, tuple[Withdrawn, ...]]:
    """Return every withdrawn snapshot, with who withdrew it."""
    found: dict[SnapshotId, tuple[Withdrawn, ...]] = {}
    for voice in voices:
        for snapshot, reason in voice.withdrawn.items():
            one = Withdrawn(snapshot, voice.publisher, voice.name, reason, voice.own)
            found[snapshot] = (*found.get(snapshot, ()), one)
    return found


def unlisted_withdrawals(
    voices: Iterable[Voice], repo: RepoId, listed: Collection[SnapshotId]
) -> list[tuple[SnapshotId, tuple[Withdrawn, ...]]]:
    """Return the withdrawn snapshots of a repository that are not in `listed`, with their withdrawals."""
    gone = all_withdrawn(voices)
    return [(one, gone[one]) for one in sorted(gone) if one.repo == repo and one not in listed]


def stops_seeding(said: Sequence[Withdrawn], rule: SeedWithdrawn) -> bool:
    """Tell whether a node under this rule stops seeding a snapshot with these withdrawals."""
    match rule:
        case SeedWithdrawn.ALWAYS:
            return False
        case SeedWithdrawn.OTHERS:
            return any(one.own for one in said)
        case SeedWithdrawn.NEVER:
            return bool(said)
