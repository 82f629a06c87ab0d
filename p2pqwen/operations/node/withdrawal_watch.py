"""Withdrawals of what a node holds: its owner is told, and its rule says what is still seeded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from p2pqwen.events import Happened, Report, ignore
from p2pqwen.index.voice import Voice
from p2pqwen.index.withdrawals import Withdrawn, all_withdrawn, stops_seeding
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(slots=True)
class WithdrawalWatch:
    """The withdrawals that matter to one node. One thread calls `look`; any thread may read."""

    voices: Callable[[], Sequence[Voice]] = tuple
    rule: SeedWithdrawn = SeedWithdrawn.OTHERS
    report: Report = ignore
    _voices: Sequence[Voice] | None = None
    _said: Mapping[SnapshotId, tuple[Withdrawn, ...]] = field(default_factory=dict)
    _held_back: frozenset[SnapshotId] = frozenset()
    _told: dict[SnapshotId, tuple[Withdrawn, ...]] = field(default_factory=dict)

    def look(self, held: Iterable[HeldSnapshot]) -> None:
        """Follow what trusted publishers say now, and report once which of `held` they withdrew."""
        voices = self.voices()
        if voices is not self._voices:
            self._voices, self._said = voices, all_withdrawn(voices)
            self._held_back = frozenset(one for one, said in self._said.items() if stops_seeding(said, self.rule))
        if not self._said and not self._told:
            return
        now = {one.id: self._said[one.id] for one in held if one.id in self._said}
        before, self._told = self._told, now
        for snapshot, said in now.items():
            for one in said:
                if one not in before.get(snapshot, ()):
                    self._tell(one)

    @property
    def said(self) -> Mapping[SnapshotId, tuple[Withdrawn, ...]]:
        """All withdrawals, by snapshot; a different object once they have changed."""
        return self._said

    def of(self, snapshot: SnapshotId) -> tuple[Withdrawn, ...]:
        """Return the withdrawals of a snapshot."""
        return self._said.get(snapshot, ())

    @property
    def held_back(self) -> frozenset[SnapshotId]:
        """The snapshots that must not be seeded, held or not."""
        return self._held_back

    def _tell(self, one: Withdrawn) -> None:
        facts: dict[str, str | int | float | bool | None] = {
            "repo": str(one.snapshot.repo),
            "commit": str(one.snapshot.commit),
            "publisher": str(one.publisher),
            "name": one.name,
            "reason": one.reason,
            "seeded": one.snapshot not in self._held_back,
        }
        self.report(Happened("withdrawn", facts))
