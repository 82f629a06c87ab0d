"""Torrents that say what files on this disk may be: named ones, unfinished ones of the library, those of indexes."""

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
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.torrent.snapshot_torrent import signed_manifest
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class TorrentAndManifest:
    """A torrent and the manifest inside it, checked against one another."""

    metainfo: Metainfo
    manifest: Manifest


@dataclass(slots=True)
class KnownTorrent:
    """A snapshot that somebody described. Sizes in bytes; the torrent is read when it is first needed."""

    id: SnapshotId
    size: int
    files: int
    _read: Callable[[], Metainfo]
    _found: TorrentAndManifest | None = None

    @property
    def is_open(self) -> bool:
        """Whether the torrent was read already."""
        return self._found is not None

    def open(self) -> TorrentAndManifest:
        """Return the torrent; raises `VerificationError`, `NetworkError`, `DiskError`."""
        if self._found is None:
            metainfo = self._read()
            manifest, _ = signed_manifest(metainfo)
            if manifest is None:
                raise VerificationError(f"the torrent of {self.id} carries no manifest, so files cannot be told by it")
            self._found = TorrentAndManifest(metainfo, manifest)
        return self._found


def known_torrents(
    named: Sequence[Metainfo], library: Library, publishers: Sequence[TrustedPublisher], report: Report
) -> list[KnownTorrent]:
    """Return every snapshot that may be recognised, the named torrents first; each once.

    Raises `VerificationError` for a named torrent that cannot be used; any other is warned about.
    """
    known: dict[SnapshotId, KnownTorrent] = {}
    for one in (*_named(named), *_unfinished(library, report), *_listed(publishers, report)):
        known.setdefault(one.id, one)
    return list(known.values())


def _named(torrents: Iterable[Metainfo]) -> Iterator[KnownTorrent]:
    for metainfo in torrents:
        manifest, _ = signed_manifest(metainfo)
        if manifest is None:
            raise VerificationError(f"the torrent of {metainfo.name} carries no manifest")
        yield _opened(manifest, metainfo)


def _unfinished(library: Library, report: Report) -> Iterator[KnownTorrent]:
    def read(held: HeldSnapshot) -> KnownTorrent | None:
        metainfo = held.metainfo()
        manifest, _ = signed_manifest(metainfo)
        return None if manifest is None else _opened(manifest, metainfo)

    unfinished = [held for held in library.all() if held.state is not State.COMPLETE]
    for one in each(unfinished, read, failed=warn(report, attrgetter("torrent_path"))):
        if one is not None:
            yield one


def _opened(manifest: Manifest, metainfo: Metainfo) -> KnownTorrent:
    found = TorrentAndManifest(metainfo, manifest)
    return KnownTorrent(
        manifest.snapshot, metainfo.layout.total_size, len(metainfo.files), lambda: metainfo, _found=found
    )


def _listed(publishers: Sequence[TrustedPublisher], report: Report) -> Iterator[KnownTorrent]:
    documents = [one.document for one in publishers if one.document is not None]
    listed = {entry.id: entry for document in documents for entry in document.entries}
    for snapshot, entry in listed.items():

        def read(snapshot: SnapshotId = snapshot) -> Metainfo:
            rivals = find_entries(publishers, snapshot)
            return parse_metainfo(load_torrent(choose(rivals, snapshot, report=report), report=report))

        yield KnownTorrent(snapshot, entry.size, entry.files, read)
