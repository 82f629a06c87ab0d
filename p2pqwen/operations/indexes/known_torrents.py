"""Torrents by which files on this disk can be recognised: named ones, unfinished ones of the library, listed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from p2pqwen.containment import each, warn
from p2pqwen.errors import VerificationError
from p2pqwen.events import Report
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.operations.indexes.lookup import choose, find_entries, load_torrent
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class TorrentAndManifest:
    """A torrent that has a manifest, and that manifest."""

    torrent: CheckedTorrent
    manifest: Manifest

    @property
    def metainfo(self) -> Metainfo:
        """The torrent's metainfo."""
        return self.torrent.metainfo


@dataclass(slots=True)
class KnownTorrent:
    """A snapshot that a torrent or an entry describes. `size` is in bytes; the torrent is read when first needed."""

    id: SnapshotId
    size: int
    files: int
    _read: Callable[[], CheckedTorrent]
    _found: TorrentAndManifest | None = None

    @property
    def is_open(self) -> bool:
        """Whether the torrent has been read."""
        return self._found is not None

    def open(self) -> TorrentAndManifest:
        """Return the torrent; raises `VerificationError`, `NetworkError`, `DiskError`."""
        if self._found is None:
            torrent = self._read()
            if torrent.manifest is None:
                raise VerificationError(f"the torrent of {self.id} carries no manifest, so files cannot be told by it")
            self._found = TorrentAndManifest(torrent, torrent.manifest)
        return self._found


def known_torrents(
    named: Sequence[CheckedTorrent], library: Library, publishers: Sequence[TrustedPublisher], report: Report
) -> list[KnownTorrent]:
    """Return every snapshot that can be recognised, each once, the named torrents first.

    Raises `VerificationError` for a named torrent that cannot be used; any other only causes a warning.
    """
    known: dict[SnapshotId, KnownTorrent] = {}
    for one in (*_named(named), *_unfinished(library, report), *_listed(publishers, report)):
        known.setdefault(one.id, one)
    return list(known.values())


def _named(torrents: Iterable[CheckedTorrent]) -> Iterator[KnownTorrent]:
    for torrent in torrents:
        if torrent.manifest is None:
            raise VerificationError(f"the torrent of {torrent.metainfo.name} carries no manifest")
        yield _opened(torrent, torrent.manifest)


def _unfinished(library: Library, report: Report) -> Iterator[KnownTorrent]:
    def read(held: HeldSnapshot) -> KnownTorrent | None:
        torrent = held.torrent()
        return None if torrent.manifest is None else _opened(torrent, torrent.manifest)

    unfinished = [held for held in library.all() if held.state is not State.COMPLETE]
    for one in each(unfinished, read, failed=warn(report, attrgetter("torrent_path"))):
        if one is not None:
            yield one


def _opened(torrent: CheckedTorrent, manifest: Manifest) -> KnownTorrent:
    found, metainfo = TorrentAndManifest(torrent, manifest), torrent.metainfo
    return KnownTorrent(
        manifest.snapshot, metainfo.layout.total_size, len(metainfo.files), lambda: torrent, _found=found
    )


def _listed(publishers: Sequence[TrustedPublisher], report: Report) -> Iterator[KnownTorrent]:
    documents = [one.document for one in publishers if one.document is not None]
    listed = {entry.id: entry for document in documents for entry in document.entries}
    for snapshot, entry in listed.items():

        def read(snapshot: SnapshotId = snapshot) -> CheckedTorrent:
            rivals = find_entries(publishers, snapshot)
            return load_torrent(choose(rivals, snapshot, report=report), report=report)

        yield KnownTorrent(snapshot, entry.size, entry.files, read)
