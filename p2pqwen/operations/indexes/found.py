"""What trusted publishers list of a snapshot, and where they contradict one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2pqwen.index.entry import Entry
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.mirrors.location import Location
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class Found:
    """An entry, the publisher that lists it, and where its .torrent can be read, the user's own sources first."""

    entry: Entry
    publisher: TrustedPublisher
    torrent_locations: tuple[str, ...]

    @property
    def same_torrent(self) -> tuple[SnapshotId, InfoHash, Sha256]:
        """What two publishers must agree on to mean the same torrent."""
        return self.entry.id, self.entry.infohash, self.entry.manifest


def torrent_locations(publisher: TrustedPublisher, entry: Entry) -> tuple[str, ...]:
    """Return where an entry's .torrent can be read."""
    return tuple(Location(mirror).beside(entry.torrent) for mirror in publisher.mirrors)


def conflicts(found: Iterable[Found]) -> list[tuple[Found, ...]]:
    """Return the entries of each snapshot for which publishers name different torrents."""
    by_snapshot: dict[SnapshotId, list[Found]] = {}
    for one in found:
        by_snapshot.setdefault(one.entry.id, []).append(one)
    return [tuple(group) for group in by_snapshot.values() if len({one.same_torrent for one in group}) > 1]


def describe_conflict(rivals: Sequence[Found]) -> str:
    """Describe in one line what each publisher says about a snapshot."""
    words = [
        f"{one.publisher.name} ({one.publisher.publisher}) says {one.entry.infohash.v2}, "
        f"{'claimed proven' if one.entry.proven else 'unproven'}"
        for one in rivals
    ]
    return f"{rivals[0].entry.id}: " + "; ".join(words)
