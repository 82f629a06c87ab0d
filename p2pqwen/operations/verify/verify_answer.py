"""What `verify --json` and `torrent show --json` say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pqwen.index.standing import Judgement, Standing, Vouching
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.verify.file_answer import FilesShown
from p2pqwen.operations.verify.verify import BadFile, Verification
from p2pqwen.torrent.links_answer import LinksAnswer
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.torrent.snapshot_magnet import magnet_of
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair took: the files that were bad, and the bytes that were fetched for them."""

    files: tuple[str, ...]
    bytes_from_peers: int
    bytes_from_web_seeds: int


@dataclass(frozen=True, slots=True)
class RepairShown:
    """What `verify --repair` adds; None: nothing was bad."""

    repaired: Repaired | None


@dataclass(frozen=True, slots=True)
class VerifyAnswer:
    """What re-hashing found. `files` and `bytes` count what was read; `extra` are files nobody signed."""

    ok: bool
    files: int
    bytes: int
    bad: tuple[BadFile, ...]
    provenance: Provenance
    standing: Standing
    vouched_by: tuple[Vouching, ...]
    signers: tuple[SignerResult, ...]
    extra: tuple[str, ...]
    warnings: tuple[str, ...]
    trusted_unverified: bool
    repair: RepairShown | None = field(metadata=FLAT)

    @classmethod
    def of(cls, found: Verification, *, trusted_unverified: bool, repair: RepairShown | None) -> VerifyAnswer:
        """Return the answer; `repair` is None if none was asked for."""
        return cls(
            ok=found.ok,
            files=found.files,
            bytes=found.bytes,
            bad=found.bad,
            provenance=found.provenance,
            standing=found.standing,
            vouched_by=() if found.judgement is None else found.judgement.vouched_by,
            signers=found.signers,
            extra=found.extra,
            warnings=tuple(found.warnings),
            trusted_unverified=trusted_unverified,
            repair=repair,
        )


@dataclass(frozen=True, slots=True)
class VerifiedTarget:
    """What re-hashing found of one of several targets."""

    target: str
    found: VerifyAnswer = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class VerifiedAnswer:
    """What re-hashing found of several targets; `ok`: every file of every one is right."""

    ok: bool
    verified: tuple[VerifiedTarget, ...]


@dataclass(frozen=True, slots=True)
class ManifestShown:
    """The manifest inside a torrent."""

    sha256: Sha256
    snapshot: SnapshotId = field(metadata=FLAT)
    license: str | None
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class TorrentAnswer:
    """What a .torrent file says of itself. Sizes in bytes; `manifest` is None without one.

    `claimed` is the snapshot that its comment claims, if no manifest names it; `piece_layers`: all are there.
    """

    name: str
    infohash_v1: Sha1
    infohash_v2: Sha256
    files: int
    size: int
    piece_length: int
    web_seeds: tuple[str, ...]
    trackers: tuple[tuple[str, ...], ...]
    signers: tuple[SignerResult, ...]
    manifest: ManifestShown | None
    standing: Standing
    vouched_by: tuple[Vouching, ...]
    links: LinksAnswer = field(metadata=FLAT)
    comment: str | None
    claimed: str | None
    piece_layers: bool
    warnings: tuple[str, ...]
    shown: FilesShown | None = field(metadata=FLAT)

    @classmethod
    def of(
        cls,
        metainfo: Metainfo,
        manifest: Manifest | None,
        provenance: Provenance,
        signers: Sequence[SignerResult],
        judgement: Judgement | None,
        claimed: SnapshotId | None,
        warnings: Sequence[str],
        shown: FilesShown | None = None,
    ) -> TorrentAnswer:
        """Return the answer; `judgement` is None if nothing says whose snapshot it is, `shown` to show no files."""
        inside = None
        if manifest is not None:
            inside = ManifestShown(manifest.digest, manifest.snapshot, manifest.license, provenance)
        return cls(
            name=metainfo.name,
            infohash_v1=metainfo.infohash.v1,
            infohash_v2=metainfo.infohash.v2,
            files=len(metainfo.layout.files),
            size=metainfo.layout.total_size,
            piece_length=metainfo.piece_length,
            web_seeds=tuple(metainfo.web_seeds),
            trackers=tuple(map(tuple, metainfo.trackers)),
            signers=tuple(signers),
            manifest=inside,
            standing=Standing.UNVOUCHED if judgement is None else judgement.standing,
            vouched_by=() if judgement is None else judgement.vouched_by,
            links=LinksAnswer.of(magnet_of(metainfo, claimed if manifest is None else manifest.snapshot)),
            comment=metainfo.comment,
            claimed=None if claimed is None else str(claimed),
            piece_layers=metainfo.has_all_layers,
            warnings=tuple(warnings),
            shown=shown,
        )
