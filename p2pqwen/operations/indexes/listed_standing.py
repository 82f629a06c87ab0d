"""How listed snapshots stand here: a publisher's claim remains a claim until this home has checked it.

A held snapshot has its own standing. One that is not held is `signed` if a trusted index lists it, and otherwise
unvouched. It cannot be proven before its torrent is held.
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
"""Opens what finds the standing of held snapshots; called only if one is held."""


@dataclass(frozen=True, slots=True)
class ListedStanding:
    """An entry's standing here. `held`: this very torrent is in the library; `claimant` lists it."""

    entry: Entry
    claimant: str
    standing: Standing
    held: bool

    @property
    def words(self) -> str:
        """The standing in words, and the publisher's claim beside it."""
        if self.standing is Standing.PROVEN:
            return f"{self.standing}, checked locally"
        claim = "claimed proven" if self.entry.proven else "listed as UNPROVEN"
        return f"{self.standing}, {'held, ' if self.held else ''}{claim} by {self.claimant}"

    @property
    def answer(self) -> ListedAnswer:
        """The fields added to an entry's JSON, in which `provenance` remains the publisher's claim."""
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
    """Return how each entry stands here; `rows` pair an entry with the name of the publisher that lists it."""
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
    """Count the entries of an index by their standing here.

    If no trusted publisher lists anything, only held snapshots are judged; the rest count as unvouched.
    """
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
    """Return a torrent's standing here, and whether it is held; `stood` is that of the held snapshot, if any."""
    if stood is not None and stood.facts.infohash == infohash:
        return stood.standing, True
    return judge(Evidence(snapshot, infohash, None, Provenance.UNPROVEN), voices).standing, False
