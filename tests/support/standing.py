"""Judgements of every standing, made by the real function."""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.index.standing import Admission, Evidence, Judgement, Standing, judge
from p2pqwen.index.voice import Voice
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.shown import ShownManifest
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from tests.support.publishing import Rules, chain, make_document, make_entry, withdrawal

INFOHASH = InfoHash(Sha1(b"1" * 20), Sha256(b"2" * 32))
MANIFEST = Sha256(b"5" * 32)


def voice(
    *listed: SnapshotId,
    infohash: InfoHash = INFOHASH,
    manifest: Sha256 = MANIFEST,
    rules: Rules | None = None,
    withdrawn: Iterable[SnapshotId] = (),
) -> Voice:
    """Return a trusted publisher that lists these snapshots, all with one infohash and manifest."""
    roots = chain(rules or Rules())
    entries = [make_entry(number, id=one, infohash=infohash, manifest=manifest) for number, one in enumerate(listed)]
    gone = tuple(withdrawal(make_entry(1, id=one), "a mistake") for one in withdrawn)
    root = roots[0].root
    return Voice.of(root.digest, root, make_document(roots, entries=entries, withdrawn=gone))


def judged(snapshot: SnapshotId, standing: Standing) -> Judgement:
    """Return a judgement of this standing."""
    proven = Provenance.PROVEN if standing is Standing.PROVEN else Provenance.UNPROVEN
    voices = [voice(snapshot)] if standing is Standing.SIGNED else []
    return judge(Evidence(snapshot, INFOHASH, ShownManifest(snapshot, MANIFEST), proven), voices)


def admitted(snapshot: SnapshotId, rows: Iterable[FileRow], standing: Standing = Standing.PROVEN) -> Admission:
    """Return the permission to lay a snapshot into the Hugging Face cache; for an unvouched one, by the user's word."""
    manifest = Manifest(snapshot, None, None, tuple(sorted(rows, key=lambda row: row.path.sort_key)))
    return judged(snapshot, standing).admit(manifest, trust_unverified=True)
