"""What `search --json` says; kept apart from `index`, which imports more, because `search` must start fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from p2pqwen.index.entry import Entry
from p2pqwen.index.upstream import Upstream
from p2pqwen.operations.indexes.found import Found, conflicts
from p2pqwen.operations.indexes.listed_standing import ListedAnswer, ListedStanding
from p2pqwen.operations.verify.file_answer import FilesShown
from p2pqwen.stewardship.upstream import UpstreamRecord
from p2pqwen.torrent.links_answer import LinksAnswer
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.values.digest import Sha256
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


def magnet_v1(entry: Entry) -> str | None:
    """Return the magnet link with only the v1 infohash."""
    return LinksAnswer.of(parse_magnet(entry.magnet)).magnet_v1


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An entry that was found; `upstream_seen_here` is what this home saw of it on the Hub, None if it never asked."""

    entry: Mapping[str, object] = field(metadata=FLAT)
    magnet_v1: str | None
    standing: ListedAnswer = field(metadata=FLAT)
    upstream_seen_here: Upstream | None
    publisher: Sha256
    publisher_name: str | None
    torrents: tuple[str, ...]
    shown: FilesShown | None = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What `search` says; `conflicts` are snapshots for which publishers name different torrents."""

    results: tuple[SearchHit, ...]
    conflicts: tuple[str, ...]

    @classmethod
    def of(
        cls,
        found: Sequence[Found],
        known: Sequence[ListedStanding],
        upstream: Mapping[SnapshotId, UpstreamRecord],
        shown: Sequence[FilesShown | None],
    ) -> SearchAnswer:
        """Return the answer; `known` tells how each of `found` stands here, `shown` its files."""
        hits = (
            SearchHit(
                one.entry.to_json(),
                magnet_v1(one.entry),
                listed.answer,
                upstream[one.entry.id].state if one.entry.id in upstream else None,
                one.publisher.publisher,
                one.publisher.name,
                tuple(one.torrent_locations),
                files,
            )
            for one, listed, files in zip(found, known, shown, strict=True)
        )
        return cls(tuple(hits), tuple(str(group[0].entry.id) for group in conflicts(found)))
