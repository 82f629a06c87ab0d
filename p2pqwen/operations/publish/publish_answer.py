"""What `publish --json` and `index sign --json` say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.operations.publish.announce import Announced
from p2pqwen.operations.publish.publish import Published
from p2pqwen.operations.publish.web_seed_check import LeftOut
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class NotListed:
    """A held snapshot that no index may list, and why."""

    snapshot: SnapshotId = field(metadata=FLAT)
    reason: str


@dataclass(frozen=True, slots=True)
class AnnounceAnswer:
    """How an index was announced: the v1 infohash of its bundle, the publisher's link, the DHT nodes that know it."""

    bundle: Sha1
    link: str | None
    dht_nodes: int | None

    @classmethod
    def of(cls, done: Announced) -> AnnounceAnswer:
        """Return what is said of it."""
        return cls(done.bundle.v1, None if done.link is None else str(done.link), done.nodes)


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """A published or drafted index; `missing` are the keys that a draft waits for, `announced` is None of a draft."""

    publisher: Sha256
    epoch: int
    version: int
    entries: int
    index: Path
    root_version: int
    signers: tuple[str, ...]
    threshold: int
    complete: bool
    web_seeds_left_out: tuple[LeftOut, ...]
    skipped: tuple[NotListed, ...]
    missing: tuple[Sha256, ...]
    announced: AnnounceAnswer | None = field(metadata=FLAT)

    @classmethod
    def of(cls, done: Published, announced: Announced | None) -> PublishAnswer:
        """Return what is said of an index."""
        accepted = done.accepted
        return cls(
            publisher=accepted.publisher,
            epoch=accepted.document.epoch,
            version=accepted.document.version,
            entries=len(accepted.document.entries),
            index=done.index,
            root_version=accepted.root.version,
            signers=tuple(accepted.signer_labels),
            threshold=accepted.signers.threshold,
            complete=accepted.signers.met,
            web_seeds_left_out=done.left_out,
            skipped=tuple(NotListed(*one) for one in done.skipped),
            missing=() if accepted.signers.met else tuple(accepted.signers.missing),
            announced=None if announced is None else AnnounceAnswer.of(announced),
        )
