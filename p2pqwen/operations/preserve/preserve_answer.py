"""What `preserve --json` says of one snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.index.standing import Judgement, Standing
from p2pqwen.manifest.license import Redistribution
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.preserve.build import Preserved
from p2pqwen.torrent.links_answer import LinksAnswer
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class PreserveAnswer:
    """A snapshot in the library. Sizes in bytes; `hazards` are its pickle-format files."""

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int
    files: int
    piece_length: int
    infohash_v1: Sha1
    infohash_v2: Sha256
    links: LinksAnswer = field(metadata=FLAT)
    manifest_sha256: Sha256
    provenance: Provenance
    standing: Standing
    torrent: Path
    path: Path
    license: str | None
    redistribution: Redistribution
    hazards: tuple[str, ...]
    unchanged: bool

    @classmethod
    def of(cls, done: Preserved, judgement: Judgement | None) -> PreserveAnswer:
        """Return the answer about a snapshot; without a `judgement`, it is unvouched."""
        metainfo = done.metainfo
        return cls(
            snapshot=done.held.id,
            size=metainfo.layout.total_size,
            files=len(metainfo.layout.files),
            piece_length=metainfo.piece_length,
            infohash_v1=metainfo.infohash.v1,
            infohash_v2=metainfo.infohash.v2,
            links=LinksAnswer.of(done.magnet),
            manifest_sha256=done.manifest.digest,
            provenance=done.provenance,
            standing=Standing.UNVOUCHED if judgement is None else judgement.standing,
            torrent=done.held.torrent_path,
            path=done.held.folder,
            license=done.manifest.license,
            redistribution=done.redistribution,
            hazards=tuple(path.text for path in done.hazards),
            unchanged=done.unchanged,
        )
