"""What trusted indexes list, and which of it is held, in columns.

Of most rows in a large index nothing else is known. So they stay text and numbers, and the index is read only on
demand: a node that learns nothing new reads no index.
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
    """A held snapshot. `size` counts the whole snapshot, `taken` the wanted files; both in bytes."""

    held: HeldSnapshot
    size: int
    taken: int

    @property
    def counts(self) -> bool:
        """Whether all its wanted files are here."""
        return counts(self.held)


def counts(held: HeldSnapshot) -> bool:
    """Tell whether all wanted files of a snapshot are here; an unfinished fetch does not count."""
    return held.state is not State.INCOMPLETE


class Listed:
    """What publishers list, and the snapshots of a library that are `here`; reports torrents that cannot be read."""

    def __init__(
        self, publishers: Iterable[TrustedPublisher], here: Iterable[HeldSnapshot], report: Report = ignore
    ) -> None:
        self.here = tuple(here)
        self._accepted = [one.accepted for one in publishers if one.accepted is not None]
        self._report = report

    @property
    def indexes(self) -> tuple[Sha256, ...]:
        """The digests of the indexes."""
        return tuple(one.digest for one in self._accepted)

    @cached_property
    def columns(self) -> Columns:
        """Each listed snapshot once, ordered by snapshot; if several publishers list one, the latest row counts."""
        if len(self._listings) > 1:
            return _in_order(_latest(self._listings), of_one=False)
        found = Columns()
        for some in self._listings[0].columns() if self._listings else ():
            found.extend(some)
        return _in_order(found)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each in the columns, by `str(snapshot)`."""
        return {name: place for place, name in enumerate(self.columns.names)}

    @cached_property
    def kept(self) -> list[Kept]:
        """What is held, ordered by snapshot; the size is the index's if one lists it."""
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
        """Return the publishers' entries for one snapshot, without reading whole indexes."""
        return [entry for listing in self._listings for entry in listing.find(snapshot)]

    @property
    def _listings(self) -> list[Listing]:
        return [one.document.listing for one in self._accepted]


def _latest(listings: Sequence[Listing]) -> Columns:
    """Return each snapshot once, unordered; if several list one, the latest row counts."""
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
    """Order columns by snapshot. Those `of_one` index are already ordered if all repositories are of one kind."""
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
