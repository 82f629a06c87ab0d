"""Raise a held snapshot's standing by giving it a better torrent of the same infohash.

A model that came by a bare magnet has no commit object and no signature. Once a trusted index lists its infohash, the
signed torrent replaces its own if 1. its infohash is the same; 2. its manifest is of this snapshot, fits the torrent,
and contradicts no commit object in it; 3. its manifest says the same of every file as the earlier one, with which the
bytes were compared; otherwise the bytes are read and compared again. Web seeds and trackers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.indexes.found import Found
from p2pqwen.operations.indexes.lookup import find_entries, publisher_keys, require_listed
from p2pqwen.operations.indexes.torrent_source import bring_near
from p2pqwen.operations.indexes.vouchers import Vouchers
from p2pqwen.operations.verify.standings import Standings, Stood
from p2pqwen.operations.verify.verify import verify_folder
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.snapshot_id import SnapshotId

Bring = Callable[[Found], CheckedTorrent]
"""Returns the torrent that a listed snapshot's entry names; raises `P2pqwenError` if no source has it."""


def needs_more(stored: CheckedTorrent, found: Found) -> bool:
    """Tell whether a held torrent falls short of what its entry names, so that the signed one would say more.

    `stored` was tried with the publisher's keys.
    """
    try:
        require_listed(found, stored)
    except P2pqwenError:
        return True
    return False


def rise(
    held: HeldSnapshot, stored: CheckedTorrent, better: CheckedTorrent, library: Library, report: Report = ignore
) -> CheckedTorrent:
    """Give a held snapshot the better torrent and return the result; the caller holds the snapshot's lock.

    Raises `VerificationError` if it does not describe these bytes, and the old one stays; `FormatError`, `DiskError`.
    """
    if better.infohash != stored.infohash:
        raise VerificationError("not the same torrent", expected=stored.infohash.v2, got=better.infohash.v2)
    manifest = better.manifest
    if manifest is None or manifest.snapshot != held.id:
        got = "no manifest" if manifest is None else manifest.snapshot
        raise VerificationError("the manifest is of another snapshot", expected=held.id, got=got)
    if held.state is not State.INCOMPLETE and not _says_the_same(stored.manifest, manifest):
        selected = held.selected if held.state is State.PARTIAL else None
        if bad := verify_folder(better, held.folder, (), selected=selected, report=report).bad:
            raise VerificationError(
                f"{bad[0].path} of {held.id} is not what the listed manifest says",
                expected=bad[0].expected,
                got=bad[0].got,
            )
    joined = better.joined(stored)
    library.replace_torrent(held.id, joined)
    report(Notice("info", f"{held.id} has a better torrent now; provenance {better.provenance}"))
    return joined


def rise_held(
    held: HeldSnapshot, entries: Sequence[Found], bring: Bring, library: Library, report: Report = ignore
) -> bool:
    """Raise one snapshot by the first of these entries whose torrent can be obtained; tell whether it rose."""
    for found in entries:
        with durable.lock(library.lock_path(held.id)):
            now = library.get(held.id)
            if now is None or now.torrent_damage() is not None:
                return False
            if found.entry.id != held.id or found.entry.infohash != now.metainfo().infohash:
                continue
            try:
                stored = now.torrent(publisher_keys(found.publisher))
                if not needs_more(stored, found):
                    continue
                rise(now, stored, bring(found), library, report)
            except VerificationError as error:
                report(Notice("warning", f"{held.id}: {error.message}"))
            except P2pqwenError as error:
                report(Notice("info", f"{held.id}: {error.message}"))
            else:
                return True
    return False


@dataclass(frozen=True, slots=True)
class Riser:
    """Raises held snapshots by what trusted indexes list; `bundles` are those of this home."""

    library: Library
    vouchers: Vouchers
    bundles: BundleStore

    @property
    def trusted(self) -> object:
        """Who is trusted now; a different object once the publishers, or what they list, have changed."""
        return self.vouchers.voices()

    def entries(self, snapshot: SnapshotId, stood: Stood) -> list[Found]:
        """Return the entries that claim to prove a held snapshot that is not proven here."""
        if stood.standing is Standing.PROVEN:
            return []
        infohash = stood.facts.infohash
        listing = {one.publisher for one in self.vouchers.voices() if one.lists_bytes(snapshot, infohash)}
        if not listing:
            return []
        found = find_entries((one for one in self.vouchers.publishers() if one.publisher in listing), infohash)
        return [one for one in found if one.entry.id == snapshot and one.entry.proven]

    def rise(self, held: HeldSnapshot, entries: Sequence[Found], *, web: bool, report: Report = ignore) -> bool:
        """Seek the signed torrent in bundles and folders, and on the web if `web`; tell whether the snapshot rose."""
        return rise_held(
            held, entries, lambda one: bring_near(one, self.bundles, report, web=web), self.library, report
        )

    def rise_all(
        self, held: Iterable[HeldSnapshot], standings: Standings, *, web: bool, report: Report = ignore
    ) -> dict[SnapshotId, Stood]:
        """Raise what can be raised and return how each stands afterwards."""
        snapshots = list(held)
        stood = standings.of(snapshots, report)

        def raise_one(one: HeldSnapshot) -> bool:
            entries = self.entries(one.id, stood[one.id]) if one.id in stood else []
            return bool(entries) and self.rise(one, entries, web=web, report=report)

        # A snapshot stays as it is while it is being fetched or if the disk is full.
        risen = each(snapshots, raise_one, failed=lambda *_: None)
        return standings.of(snapshots, report) if any(risen) else stood


def _says_the_same(before: Manifest | None, manifest: Manifest) -> bool:
    """Tell whether two manifests say the same about the bytes of every file."""
    return before is not None and [_content(row) for row in before.files] == [_content(row) for row in manifest.files]


def _content(row: FileRow) -> tuple[object, ...]:
    return row.path, row.size, row.sha256, row.git_oid, row.lfs
