"""What `publish --json` and `index sign --json` say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.index.diff import FieldChange, IndexDiff
from p2pqwen.index.document import Withdrawal
from p2pqwen.index.entry import Entry
from p2pqwen.manifest.license import Redistribution, redistribution
from p2pqwen.operations.publish.announce import Announced
from p2pqwen.operations.publish.mirror_tree import MirrorTreeAnswer
from p2pqwen.operations.publish.publish import Proposal, Published
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
    """How an index was announced: its bundle's v1 infohash, the publisher's link, how many DHT nodes took it."""

    bundle: Sha1
    link: str | None
    dht_nodes: int | None

    @classmethod
    def of(cls, done: Announced) -> AnnounceAnswer:
        """Return the answer about an announcement."""
        return cls(done.bundle.v1, None if done.link is None else str(done.link), done.nodes)


@dataclass(frozen=True, slots=True)
class AddedAnswer:
    """A snapshot that an index lists for the first time; `size` in bytes."""

    snapshot: SnapshotId = field(metadata=FLAT)
    size: int
    license: str | None
    redistribution: Redistribution

    @classmethod
    def of(cls, entry: Entry) -> AddedAnswer:
        """Return the answer about a new entry."""
        return cls(entry.id, entry.size, entry.license, redistribution(entry.license))


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A listed snapshot, and the fields of it that change."""

    snapshot: SnapshotId = field(metadata=FLAT)
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WithdrawalAnswer:
    """A snapshot that is withdrawn, or no longer is, and why it was."""

    snapshot: SnapshotId = field(metadata=FLAT)
    reason: str

    @classmethod
    def all(cls, some: Iterable[Withdrawal]) -> tuple[WithdrawalAnswer, ...]:
        """Return the answer about withdrawals."""
        return tuple(cls(one.id, one.reason) for one in some)


@dataclass(frozen=True, slots=True)
class ChangesAnswer:
    """What a publication changes in the list; `index` are the changes outside the entries."""

    added: tuple[AddedAnswer, ...]
    changed: tuple[ChangedAnswer, ...]
    withdrawn: tuple[WithdrawalAnswer, ...]
    reinstated: tuple[WithdrawalAnswer, ...]
    index: tuple[FieldChange, ...]
    alarms: tuple[str, ...]

    @classmethod
    def of(cls, difference: IndexDiff) -> ChangesAnswer:
        """Return the answer about a difference."""
        return cls(
            added=tuple(map(AddedAnswer.of, difference.added)),
            changed=tuple(
                ChangedAnswer(one.id, tuple(change.field for change in one.fields)) for one in difference.changed
            ),
            withdrawn=WithdrawalAnswer.all(difference.withdrawn),
            reinstated=WithdrawalAnswer.all(difference.reinstated),
            index=difference.notable,
            alarms=difference.alarms,
        )


@dataclass(frozen=True, slots=True)
class ProposalAnswer:
    """What `publish --dry-run` would sign; `index` is None because nothing is written."""

    publisher: Sha256
    epoch: int
    version: int
    entries: int
    root_version: int
    web_seeds_left_out: tuple[LeftOut, ...]
    skipped: tuple[NotListed, ...]
    changes: ChangesAnswer
    unchanged: bool
    index: None = None
    dry_run: bool = True

    @classmethod
    def of(cls, proposal: Proposal) -> ProposalAnswer:
        """Return the answer about a proposal."""
        document = proposal.document
        return cls(
            publisher=document.publisher,
            epoch=document.epoch,
            version=document.version,
            entries=len(document.entries),
            root_version=document.root_version,
            web_seeds_left_out=proposal.left_out,
            skipped=tuple(NotListed(*one) for one in proposal.skipped),
            changes=ChangesAnswer.of(proposal.difference),
            unchanged=proposal.still_says_it is not None,
        )


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """A published or drafted index; `missing` are the keys that a draft waits for, `announced` is None for a draft."""

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
    changes: ChangesAnswer
    dry_run: bool
    unchanged: bool
    mirror_tree: MirrorTreeAnswer | None
    announced: AnnounceAnswer | None = field(metadata=FLAT)

    @classmethod
    def of(cls, done: Published, announced: Announced | None) -> PublishAnswer:
        """Return the answer about an index."""
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
            changes=ChangesAnswer.of(done.difference),
            dry_run=False,
            unchanged=done.unchanged,
            mirror_tree=done.mirror_tree,
            announced=None if announced is None else AnnounceAnswer.of(announced),
        )
