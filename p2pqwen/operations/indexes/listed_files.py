"""The files of a listed snapshot: the index says only how many there are, the torrent which.

The torrent is read from the library, a bundle in this home or a mirror; no swarm is asked. The entry's infohash covers
every path and size, so a torrent with that infohash needs no other proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from p2pqwen.containment import first_of
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.index.entry import Entry
from p2pqwen.index.entry_check import check_copy
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.mirrors.location import is_web
from p2pqwen.mirrors.reading import read_now
from p2pqwen.operations.indexes.bundle_torrents import local_torrent
from p2pqwen.operations.verify.file_answer import FileAnswer
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.values.named_hosts import NONE_NAMED

WEB_SECONDS = 30.0
"""After this time no further mirror on the web is asked, for any entry."""


class ListedFiles:
    """Finds the files of entries, for one command."""

    def __init__(self, library: Library, bundles: BundleStore, report: Report) -> None:
        self._library, self._bundles, self._report = library, bundles, report
        self._deadline = time.monotonic() + WEB_SECONDS

    def of(
        self, entry: Entry, publisher: TrustedPublisher | None, locations: Sequence[str]
    ) -> tuple[FileAnswer, ...] | None:
        """Return the files, None if no torrent is at hand. `locations` are where its .torrent can be read."""
        ways: list[Callable[[], Metainfo | None]] = [lambda: self._held(entry)]
        if publisher is not None:
            ways.append(lambda: self._bundled(entry, publisher))
        ways += [lambda place=place: self._read(entry, publisher, place) for place in locations]  # type: ignore[misc]
        found = first_of(ways, lambda way: way(), failed=self._failed)
        return None if found is None else FileAnswer.all(found, entry.id.repo)

    def _held(self, entry: Entry) -> Metainfo | None:
        held = self._library.get(entry.id)
        metainfo = None if held is None else held.metainfo()
        return metainfo if metainfo is not None and metainfo.infohash == entry.infohash else None

    def _bundled(self, entry: Entry, publisher: TrustedPublisher) -> Metainfo | None:
        data = local_torrent(self._bundles, publisher, entry.torrent)
        return None if data is None else _checked(entry, data)

    def _read(self, entry: Entry, publisher: TrustedPublisher | None, location: str) -> Metainfo | None:
        if is_web(location) and time.monotonic() > self._deadline:
            return None
        named = NONE_NAMED if publisher is None else publisher.named
        return _checked(entry, read_now(location, max_bytes=MAX_TORRENT_BYTES, named=named))

    def _failed(self, _: object, error: P2pqwenError) -> None:
        self._report(Notice("info", error.message))


def _checked(entry: Entry, data: bytes) -> Metainfo:
    metainfo = parse_metainfo(data)
    check_copy(entry, metainfo)
    return metainfo
