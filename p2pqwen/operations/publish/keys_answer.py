"""What `keys … --json` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.operations.indexes.trust_answer import KeyAnswer
from p2pqwen.operations.publish.keys import KeyShown, PublisherShown
from p2pqwen.operations.publish.rotate import Rotation
from p2pqwen.values.digest import Sha256


@dataclass(frozen=True, slots=True)
class PublisherAnswer:
    """A publisher with its keys; `thresholds` says how many keys of each role must sign."""

    publisher: Sha256
    name: str
    root_version: int
    index_epoch: int
    thresholds: Mapping[str, int]
    keys: tuple[KeyShown, ...]

    @classmethod
    def of(cls, shown: PublisherShown) -> PublisherAnswer:
        """Return the answer about a publisher."""
        return cls(
            publisher=shown.publisher,
            name=shown.root.name,
            root_version=shown.root.version,
            index_epoch=shown.root.index_epoch,
            thresholds={role: rule.threshold for role, rule in shown.root.roles.items()},
            keys=(*shown.keys, *shown.spare),
        )


@dataclass(frozen=True, slots=True)
class SpareKeysAnswer:
    """The keys of a co-signer who has joined no publisher yet."""

    keys: tuple[KeyShown, ...]
    publisher: None = None
    root_version: None = None


@dataclass(frozen=True, slots=True)
class NewKeyAnswer:
    """A key that `keys new` made, and the public half to hand over."""

    keyid: Sha256
    label: str
    public: str


@dataclass(frozen=True, slots=True)
class RotationAnswer:
    """A new root and its signatures; `draft` is None once it is in force here."""

    publisher: Sha256
    root_version: int
    index_epoch: int
    keys: tuple[KeyAnswer, ...]
    complete: bool
    draft: Path | None
    signed_by: tuple[str, ...]
    missing: tuple[str, ...]

    @classmethod
    def of(cls, done: Rotation) -> RotationAnswer:
        """Return the answer about a rotation."""
        both = (done.progress.old, done.progress.new)
        return cls(
            publisher=done.publisher,
            root_version=done.root.version,
            index_epoch=done.root.index_epoch,
            keys=KeyAnswer.all(done.root),
            complete=done.progress.complete,
            draft=done.draft,
            signed_by=tuple(sorted({str(keyid) for one in both for keyid in one.signed_by})),
            missing=tuple(sorted({str(keyid) for one in both if not one.met for keyid in one.missing})),
        )
