"""What this home knows of snapshots that an index lists: a publisher's claim is a claim until it was checked here.

A held one has its own standing. One that is not here is `signed` where a trusted index lists it, and else unvouched: it
may be proven once its torrent is here, and not before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from p2pqwen.events import Report, ignore
from p2pqwen.index.entry import Entry
from p2pqwen.index.listing import Listing
from p2pqwen.index.standing import Evidence, Standing, judge
from p2pqwen.index.voice import Voice
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.library.snapshots import Library
    from p2pqwen.operations.verify.standings import Standings, Stood

OpenStandings: TypeAlias = "Callable[[Report], AbstractContextManager[Standings]]"
"""Opens what finds the standing of held snapshots; done only where one is held."""


@dataclass(frozen=True, slots=True)
class ListedStanding:
    """An entry's standing here. `held`: this very torrent is in the library; `claimant` lists it."""

    entry: Entry
    claimant: str
    standing: Standing
    held: bool

    @property
    def words(self) -> str:
        """The standing as people read it, and what is claimed beside it."""
        if self.standing is Standing.PROVEN:
            return f"{self.standing}, checked locally"
        claim = "claimed proven" if self.entry.proven else "listed as UNPROVEN"
        return f"{self.standing}, {'held, ' if self.held else ''}{claim} by {self.claimant}"

    @property
    def answer(self) -> ListedAnswer:
        """What the JSON of an entry gains; `provenance` in it stays the publisher's claim."""
        return ListedAnswer(self.standing, self.held)


@dataclass(frozen=True, slots=True)
class ListedAnswer:
    """How an entry stands here, and whether its torrent is in the library."""

    standing: Standing
    held: bool


def listed_standings(
    rows: Sequence[tuple[Entry, str]],
    library: Library,
    standings: OpenStandings,
    voices: Sequence[Voice],
    report: Report = ignore,
) -> list[ListedStanding]:
    """Return what is known here of each entry, given with the name of who lists it."""
    wanted = {entry.id for entry, _ in rows}
    here = [one for one in library.all() if one.id in wanted]
    stood: Mapping[SnapshotId, Stood] = {}
    if here:
        with standings(report) as opened:
            stood = opened.of(here, report)
    found = []
    for entry, claimant in rows:
        standing, held = standing_here(entry.id, entry.infohash, stood.get(entry.id), voices)
        found.append(ListedStanding(entry, claimant, standing, held=held))
    return found


def count_standings(
    listing: Listing,
    claimant: str,
    library: Library,
    standings: OpenStandings,
    voices: Sequence[Voice],
    report: Report = ignore,
) -> Mapping[Standing, int]:
    """Return how many entries of an index stand how here; what nobody who is trusted lists is only counted."""
    listed: Iterable[Entry] = listing
    if not any(voice.listed for voice in voices):
        listed = [entry for one in library.all() for entry in listing.find(one.id)]
    found = listed_standings([(entry, claimant) for entry in listed], library, standings, voices, report)
    counts = Counter(one.standing for one in found)
    counts[Standing.UNVOUCHED] += len(listing) - len(found)
    return counts


def standing_here(
    snapshot: SnapshotId, infohash: InfoHash, stood: Stood | None, voices: Sequence[Voice]
) -> tuple[Standing, bool]:
    """Return the standing of a torrent that may not be here, and whether it is; `stood`: of the held snapshot."""
    if stood is not None and stood.facts.infohash == infohash:
        return stood.standing, True
    return judge(Evidence(snapshot, infohash, None, Provenance.UNPROVEN), voices).standing, False
