"""The standing of held snapshots, for everything that shows it: `list`, `status`, `search`, the node, its metrics.

What a torrent says of itself is read once and kept (`library.torrent_facts`). Who is trusted is asked every time, but
only if the answer depends on it: a proof needs no publisher, and no index is opened for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError
from p2pqwen.events import Report, ignore
from p2pqwen.index.standing import Evidence, Judgement, Standing, judge, keys_of
from p2pqwen.index.withdrawals import Withdrawn, all_withdrawn
from p2pqwen.library.lift_store import LiftStore
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.torrent_facts import FactsStore, TorrentFacts, look_at
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.index.voice import Voice
    from p2pqwen.library.state_store import StateStore

Voices: TypeAlias = Callable[[], "Sequence[Voice]"]
"""Whom this home trusts at this moment."""


@dataclass(frozen=True, slots=True)
class Stood:
    """A held snapshot with its standing. `trusted_unverified`: it was accepted on the user's word alone."""

    facts: TorrentFacts
    judgement: Judgement
    trusted_unverified: bool = False

    @property
    def standing(self) -> Standing:
        """The standing."""
        return self.judgement.standing


class Standings:
    """Finds the standing of held snapshots; thread-safe.

    `store` None: nothing is remembered, because nothing is held. `voices` says who is trusted now. `read` reads the
    torrents of which nothing is remembered (`read_facts`).
    """

    def __init__(
        self, store: StateStore | None, voices: Voices, read: Callable[[HeldSnapshot, Voices], TorrentFacts]
    ) -> None:
        self._facts = None if store is None else FactsStore(store)
        self._lifts = None if store is None else LiftStore(store)
        self.voices, self._read_facts = voices, read
        self._lock = threading.Lock()
        self._known: dict[SnapshotId, TorrentFacts] | None = None

    def of(
        self, held: Iterable[HeldSnapshot], report: Report = ignore, *, between: Callable[[], object] = lambda: None
    ) -> dict[SnapshotId, Stood]:
        """Return the standing of each; one whose torrent cannot be read is left out with a warning.

        `between` is called between two torrents that had to be read.
        """
        facts = self._all_facts(held, report, between)
        lifted = {} if self._lifts is None else self._lifts.all()
        return {
            snapshot: Stood(one, judgement, _is_lifted(lifted.get(snapshot), one, judgement))
            for snapshot, one in facts.items()
            for judgement in (self._judge(snapshot, one),)
        }

    def away(self, snapshots: Iterable[SnapshotId]) -> dict[SnapshotId, Stood]:
        """Return the standing of snapshots whose disks are away, if their torrents were read before."""
        known = self._load()
        return {one: Stood(known[one], self._judge(one, known[one])) for one in snapshots if one in known}

    def withdrawn(self) -> Mapping[SnapshotId, tuple[Withdrawn, ...]]:
        """Return what the publishers trusted now have withdrawn, with who did so and why."""
        return all_withdrawn(self.voices())

    def _judge(self, snapshot: SnapshotId, facts: TorrentFacts) -> Judgement:
        evidence = Evidence(snapshot, facts.infohash, facts.manifest, facts.provenance, facts.signers)
        alone = judge(evidence, ())
        return alone if alone.standing is Standing.PROVEN else judge(evidence, self.voices())

    def _load(self) -> dict[SnapshotId, TorrentFacts]:
        with self._lock:
            if self._known is None:
                self._known = {} if self._facts is None else self._facts.all()
            return self._known

    def _all_facts(
        self, held: Iterable[HeldSnapshot], report: Report, between: Callable[[], object]
    ) -> dict[SnapshotId, TorrentFacts]:
        known = self._load()
        found: dict[SnapshotId, TorrentFacts] = {}
        fresh: dict[SnapshotId, TorrentFacts | None] = {}

        def look(one: HeldSnapshot) -> None:
            facts = known.get(one.id)
            if facts is None or facts.look != look_at(one.torrent_path) or self._may_say_more(facts, one):
                known[one.id] = fresh[one.id] = facts = self._read(one)
                between()
            found[one.id] = facts

        each(held, look, failed=warn(report, attrgetter("torrent_path")))
        if fresh and self._facts is not None:
            with suppress(DiskError):  # it only costs time at the next look
                self._facts.put(fresh)
        return found

    def _may_say_more(self, facts: TorrentFacts, held: HeldSnapshot) -> bool:
        """Tell whether files or a key that matter have appeared since the torrent was read."""
        if facts.provenance is Provenance.PROVEN:
            return False
        if not facts.whole and held.state is State.COMPLETE:
            return True
        if all(one.state != "unknown key" for one in facts.signers):
            return False
        keys = keys_of(self.voices())
        return any(one.state == "unknown key" and one.keyid in keys for one in facts.signers)

    def _read(self, held: HeldSnapshot) -> TorrentFacts:
        return self._read_facts(held, self.voices)


def standing_words(stood: Stood | None) -> str:
    """Return the standing as `list` and `status` print it."""
    if stood is None:  # its torrent was never read
        return str(Standing.UNVOUCHED)
    return f"{stood.standing}{' (trusted unverified)' if stood.trusted_unverified else ''}"


def _is_lifted(infohash: Sha256 | None, facts: TorrentFacts, judgement: Judgement) -> bool:
    return judgement.standing is Standing.UNVOUCHED and infohash == facts.infohash.v2
