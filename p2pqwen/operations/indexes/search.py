"""Search what trusted publishers list."""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.indexes.found import Found, conflicts, describe_conflict, torrent_locations


def search(publishers: Iterable[TrustedPublisher], words: Iterable[str], report: Report = ignore) -> list[Found]:
    """Return the entries that contain every word, ordered by snapshot and publisher; contradictions are reported."""
    wanted = tuple(words)
    found = [
        Found(entry, publisher, torrent_locations(publisher, entry))
        for publisher in publishers
        if publisher.document is not None
        for entry in publisher.document.listing.having(wanted)
    ]
    for group in conflicts(found):
        report(Notice("warning", f"publishers contradict one another: {describe_conflict(group)}"))
    return sorted(found, key=lambda one: (one.entry.id, one.publisher.publisher))
