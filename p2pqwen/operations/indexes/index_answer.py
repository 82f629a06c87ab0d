"""What `index … --json` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from p2pqwen.index.acceptance import Accepted, RefusedError
from p2pqwen.index.diff import FieldChange
from p2pqwen.index.standing import Standing
from p2pqwen.operations.indexes.index_check import Checked, Compared
from p2pqwen.operations.indexes.listed_standing import ListedAnswer, ListedStanding
from p2pqwen.operations.indexes.search_answer import magnet_v1
from p2pqwen.operations.indexes.trust_answer import SkippedAnswer
from p2pqwen.operations.indexes.updated import SourceResult, Updated
from p2pqwen.operations.verify.file_answer import FilesShown
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.digest import Sha256
from p2pqwen.values.json_value import FLAT, named
from p2pqwen.values.snapshot_id import SnapshotId


def signers_of(accepted: Accepted) -> tuple[SignerResult, ...]:
    """Return the signers of an index; only valid signatures count."""
    keys = accepted.root.keys
    return tuple(SignerResult(keys[keyid].label, keyid, "valid") for keyid in accepted.signers.signed_by)


@dataclass(frozen=True, slots=True)
class IndexRefused:
    """A refused index: the `step` of acceptance that refused it, and the keys that have yet to sign."""

    ok: bool = field(default=False, init=False)
    publisher: None = field(default=None, init=False)
    epoch: None = field(default=None, init=False)
    version: None = field(default=None, init=False)
    entries: None = field(default=None, init=False)
    skipped: tuple[SkippedAnswer, ...] = field(default=(), init=False)
    signers: tuple[SignerResult, ...] = field(default=(), init=False)
    pinned: bool
    step: int | None
    error: str | None
    missing: tuple[Sha256, ...]

    @classmethod
    def of(cls, refusal: RefusedError | None, *, pinned: bool) -> IndexRefused:
        """Return the answer about a refusal."""
        missing = refusal.threshold.missing if refusal and refusal.threshold else ()
        return cls(pinned, refusal.step if refusal else None, refusal.message if refusal else None, tuple(missing))


@dataclass(frozen=True, slots=True)
class IndexValid:
    """An index that is valid in itself. `relation` is to the index accepted here."""

    ok: bool = field(default=True, init=False)
    publisher: Sha256
    name: str
    root_version: int
    epoch: int
    version: int
    entries: int
    skipped: tuple[SkippedAnswer, ...]
    signers: tuple[SignerResult, ...]
    threshold: int
    missing: tuple[Sha256, ...]
    ignored: tuple[str, ...]
    age_days: int
    pinned: bool
    trusted: bool
    relation: str | None

    @classmethod
    def of(cls, accepted: Accepted, checked: Checked) -> IndexValid:
        """Return the answer about an index."""
        return cls(
            publisher=accepted.publisher,
            name=accepted.root.name,
            root_version=accepted.root.version,
            epoch=accepted.document.epoch,
            version=accepted.document.version,
            entries=len(accepted.document.entries),
            skipped=SkippedAnswer.all(accepted.document),
            signers=signers_of(accepted),
            threshold=accepted.signers.threshold,
            missing=tuple(accepted.signers.missing),
            ignored=tuple(accepted.signers.ignored),
            age_days=accepted.age_days,
            pinned=checked.pinned,
            trusted=checked.trusted,
            relation=checked.relation,
        )


@dataclass(frozen=True, slots=True)
class StandingCounts:
    """How many entries have each standing here."""

    standings: Mapping[str, int]

    @classmethod
    def of(cls, counts: Mapping[Standing, int]) -> StandingCounts:
        """Return the answer about these counts."""
        return cls({word.value: counts.get(word, 0) for word in Standing})


@dataclass(frozen=True, slots=True)
class EntryAnswer:
    """An entry as the index has it, and its standing here."""

    entry: Mapping[str, object] = field(metadata=FLAT)
    magnet_v1: str | None
    standing: ListedAnswer = field(metadata=FLAT)
    shown: FilesShown | None = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class IndexContent:
    """What an index lists; `withdrawn` are its own rows."""

    snapshots: tuple[EntryAnswer, ...]
    withdrawn: tuple[Mapping[str, object], ...]
    mirrors: tuple[str, ...]

    @classmethod
    def of(
        cls, accepted: Accepted, listed: Sequence[ListedStanding], shown: Sequence[FilesShown | None]
    ) -> IndexContent:
        """Return the answer; `listed` are the entries in their order, `shown` their files, if they are shown."""
        document = accepted.document
        snapshots = (
            EntryAnswer(one.entry.to_json(), magnet_v1(one.entry), one.answer, files)
            for one, files in zip(listed, shown, strict=True)
        )
        return cls(tuple(snapshots), tuple(gone.to_json() for gone in document.withdrawn), tuple(document.mirrors))


@dataclass(frozen=True, slots=True)
class IndexAnswer:
    """What `index verify` and `index show` say; `more` is None for a refused index."""

    checked: IndexValid | IndexRefused = field(metadata=FLAT)
    more: StandingCounts | IndexContent | None = field(metadata=FLAT)

    @classmethod
    def of(cls, checked: Checked, more: StandingCounts | IndexContent | None) -> IndexAnswer:
        """Return the answer about an index."""
        if checked.accepted is None:
            return cls(IndexRefused.of(checked.refusal, pinned=checked.pinned), None)
        return cls(IndexValid.of(checked.accepted, checked), more)


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A snapshot in which two indexes differ, and its fields that changed."""

    name: str = field(metadata=named("snapshot"))
    id: SnapshotId = field(metadata=FLAT)
    changes: tuple[FieldChange, ...] = ()

    @classmethod
    def of(cls, snapshot: SnapshotId, changes: tuple[FieldChange, ...] = ()) -> ChangedAnswer:
        """Return the row of a snapshot."""
        return cls(str(snapshot), snapshot, changes)


@dataclass(frozen=True, slots=True)
class WithdrawnAnswer:
    """A snapshot that the newer index withdraws, and why."""

    changed: ChangedAnswer = field(metadata=FLAT)
    reason: str


@dataclass(frozen=True, slots=True)
class DiffAnswer:
    """What `index diff` says. `index` holds changes outside the entries; `complete`: enough keys signed the newer."""

    added: tuple[ChangedAnswer, ...]
    removed: tuple[ChangedAnswer, ...]
    changed: tuple[ChangedAnswer, ...]
    withdrawn: tuple[WithdrawnAnswer, ...]
    index: tuple[FieldChange, ...]
    alarms: tuple[str, ...]
    complete: bool

    @classmethod
    def of(cls, compared: Compared) -> DiffAnswer:
        """Return the answer about two indexes."""
        found = compared.difference
        return cls(
            added=tuple(ChangedAnswer.of(entry.id) for entry in found.added),
            removed=tuple(ChangedAnswer.of(entry.id) for entry in found.removed),
            changed=tuple(ChangedAnswer.of(change.id, change.fields) for change in found.changed),
            withdrawn=tuple(WithdrawnAnswer(ChangedAnswer.of(gone.id), gone.reason) for gone in found.withdrawn),
            index=found.document,
            alarms=tuple(found.alarms),
            complete=compared.newer.signers.met,
        )


@dataclass(frozen=True, slots=True)
class UpdatedAnswer:
    """What `index update` says of one publisher; the fields of an index are None before the first is accepted."""

    ok: bool
    publisher: Sha256
    name: str | None
    root_version: int | None
    epoch: int | None
    version: int | None
    entries: int | None
    signers: tuple[SignerResult, ...]
    age_days: int | None
    changed: bool
    sources: tuple[SourceResult, ...]

    @classmethod
    def of(cls, one: Updated) -> UpdatedAnswer:
        """Return the answer about an outcome."""
        accepted = one.publisher.accepted
        return cls(
            ok=one.ok,
            publisher=one.publisher.publisher,
            name=one.publisher.name,
            root_version=accepted.root.version if accepted else None,
            epoch=accepted.document.epoch if accepted else None,
            version=accepted.document.version if accepted else None,
            entries=len(accepted.document.entries) if accepted else None,
            signers=signers_of(accepted) if accepted else (),
            age_days=accepted.age_days if accepted else None,
            changed=one.changed,
            sources=one.sources,
        )


@dataclass(frozen=True, slots=True)
class UpdateAnswer:
    """What `index update` says: the first publisher that succeeded, else the first; whether any did; all of them."""

    first: UpdatedAnswer = field(metadata=FLAT)
    ok: bool
    publishers: tuple[UpdatedAnswer, ...]

    @classmethod
    def of(cls, updates: Sequence[Updated]) -> UpdateAnswer:
        """Return the answer about a round of at least one publisher."""
        rows = tuple(map(UpdatedAnswer.of, updates))
        return cls(next((row for row in rows if row.ok), rows[0]), any(row.ok for row in rows), rows)
