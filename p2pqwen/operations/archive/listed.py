"""What trusted indexes list, and what of it is here, in columns.

Of nearly all of a large index nothing is known but what it says. So it stays text and numbers, and it is read only once
somebody asks: a node that learns nothing new reads no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count

from p2pqwen.events import Report, ignore
from p2pqwen.index.entry import Entry
from p2pqwen.index.listing import Columns, Listing
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.archive.watched import each_unlisted, held_bytes
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that is here. `size` is that of all of it, `taken` of what was wanted of it; both in bytes."""

    held: HeldSnapshot
    size: int
    taken: int

    @property
    def counts(self) -> bool:
        """Whether it is here as far as it was wanted."""
        return counts(self.held)


def counts(held: HeldSnapshot) -> bool:
    """Tell whether a snapshot is here as far as it was wanted: a fetch that was only begun is none."""
    return held.state is not State.INCOMPLETE


class Listed:
    """What publishers list, and the snapshots of a library that are `here`; a torrent that cannot be read is told."""

    def __init__(
        self, publishers: Iterable[TrustedPublisher], here: Iterable[HeldSnapshot], report: Report = ignore
    ) -> None:
        self.here = tuple(here)
        self._accepted = [one.accepted for one in publishers if one.accepted is not None]
        self._report = report

    @property
    def indexes(self) -> tuple[Sha256, ...]:
        """Which indexes these are, by their digests."""
        return tuple(one.digest for one in self._accepted)

    @cached_property
    def columns(self) -> Columns:
        """Each listed snapshot once, ordered by snapshot; where several publishers list one, the last word counts."""
        if len(self._listings) > 1:
            return _in_order(_latest(self._listings), of_one=False)
        found = Columns()
        for some in self._listings[0].columns() if self._listings else ():
            found.extend(some)
        return _in_order(found)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each stands in the columns, by what `str` prints of it."""
        return {name: place for place, name in enumerate(self.columns.names)}

    @cached_property
    def kept(self) -> list[Kept]:
        """What is here, ordered by snapshot; the size is the index's where one lists it."""
        held = {str(one.id): one for one in self.here}
        if not held:
            return []
        kept = [
            Kept(held[name], size, held_bytes(held[name], size))
            for name, size in zip(self.columns.names, self.columns.sizes, strict=True)
            if name in held
        ]
        for one in kept:
            del held[str(one.held.id)]
        kept += (
            Kept(one.held, one.size, one.held_bytes) for one in each_unlisted(held.values(), self._report) if one.held
        )
        return sorted(kept, key=lambda one: one.held.id)

    @cached_property
    def contradicted(self) -> frozenset[SnapshotId]:
        """The snapshots for which publishers name different torrents."""
        return _contradicted(self._listings)

    def find(self, snapshot: SnapshotId) -> list[Entry]:
        """Return what the publishers say of one snapshot, without reading all they list."""
        return [entry for listing in self._listings for entry in listing.find(snapshot)]

    @property
    def _listings(self) -> list[Listing]:
        return [one.document.listing for one in self._accepted]


def _latest(listings: Sequence[Listing]) -> Columns:
    """Return each snapshot once, in no order; where several list one, the last word counts."""
    found, added = Columns(), list[str]()
    places: dict[str, int] = {}
    for listing in listings:
        for some, claims in zip(listing.columns(), listing.claims(), strict=True):
            known = [(at, places[name]) for at, name in enumerate(some.names) if name in places]
            new = [at for at, name in enumerate(some.names) if name not in places]
            places.update(zip((some.names[at] for at in new), count(len(added)), strict=False))
            found.extend(some.only(new))
            added += (claims.added[at] for at in new)
            for at, place in known:
                if claims.added[at] >= added[place]:
                    found.sizes[place], found.licenses[place] = some.sizes[at], some.licenses[at]
                    found.upstream[place], added[place] = some.upstream[at], claims.added[at]
    return found


def _in_order(columns: Columns, *, of_one: bool = True) -> Columns:
    """Order columns by snapshot. Those `of_one` index are in that order where all are of one kind."""
    names = columns.names
    if any(":" in name or name.startswith("datasets/") for name in names):
        parsed = lru_cache(maxsize=64)(RepoId.parse)

        def order(place: int) -> tuple[str, str, str]:
            repo, _, commit = names[place].partition("@")
            return parsed(repo).text, parsed(repo).kind.value, commit

        return columns.only(sorted(range(len(names)), key=order))
    if of_one:
        return columns
    keys = [name.replace("@", "\0") for name in names]
    return columns.only(sorted(range(len(names)), key=keys.__getitem__))


def _contradicted(listings: Sequence[Listing]) -> frozenset[SnapshotId]:
    if len(listings) < 2:
        return frozenset()  # no index names a snapshot twice
    named: dict[str, str] = {}
    differing = set()
    for listing in listings:
        for some, claims in zip(listing.columns(), listing.claims(), strict=True):
            for name, torrent in zip(some.names, claims.torrents, strict=True):
                if named.setdefault(name, torrent) != torrent:
                    differing.add(name)
    return frozenset(map(SnapshotId.parse, differing))
