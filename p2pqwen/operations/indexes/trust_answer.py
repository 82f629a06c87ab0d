"""What `trust … --json` says of trusted publishers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pqwen.index.document import IndexDocument
from p2pqwen.index.root import Root
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.values.digest import Sha256
from p2pqwen.values.json_value import FLAT


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """A publisher's key, and what it may sign."""

    keyid: Sha256
    label: str
    roles: tuple[str, ...]

    @classmethod
    def all(cls, root: Root | None) -> tuple[KeyAnswer, ...]:
        """Return the keys of a root; none are known before the first."""
        if root is None:
            return ()
        return tuple(
            cls(keyid, key.label, tuple(role for role, rule in root.roles.items() if keyid in rule.keyids))
            for keyid, key in root.keys.items()
        )


@dataclass(frozen=True, slots=True)
class SkippedAnswer:
    """An entry of an index that this version cannot read, and why."""

    repo: str
    commit: str
    repo_type: str
    recipe: int
    reason: str

    @classmethod
    def all(cls, document: IndexDocument | None) -> tuple[SkippedAnswer, ...]:
        """Return the skipped entries of an index."""
        skipped = document.skipped if document is not None else ()
        return tuple(cls(one.repo, one.commit, one.repo_type, one.recipe, one.reason) for one in skipped)


@dataclass(frozen=True, slots=True)
class TrustedAnswer:
    """A trusted publisher; the fields of its root and index are None before the first is accepted."""

    publisher: Sha256
    name: str | None
    root_version: int | None
    epoch: int | None
    version: int | None
    entries: int | None
    skipped: tuple[SkippedAnswer, ...]
    age_days: int | None
    sources: tuple[str, ...]
    mirrors: tuple[str, ...]

    @classmethod
    def of(cls, one: TrustedPublisher) -> TrustedAnswer:
        """Return the answer about a publisher."""
        document = one.document
        return cls(
            publisher=one.publisher,
            name=one.name,
            root_version=one.root.version if one.root else None,
            epoch=document.epoch if document else None,
            version=document.version if document else None,
            entries=len(document.entries) if document else None,
            skipped=SkippedAnswer.all(document),
            age_days=one.accepted.age_days if one.accepted else None,
            sources=one.sources,
            mirrors=one.mirrors,
        )


@dataclass(frozen=True, slots=True)
class TrustedWithKeys:
    """What `trust add` and `trust show` say."""

    trusted: TrustedAnswer = field(metadata=FLAT)
    keys: tuple[KeyAnswer, ...]

    @classmethod
    def of(cls, one: TrustedPublisher) -> TrustedWithKeys:
        """Return the answer about a publisher."""
        return cls(TrustedAnswer.of(one), KeyAnswer.all(one.root))


@dataclass(frozen=True, slots=True)
class TrustedList:
    """What `trust list` says; most users trust only one publisher, so the first one's fields are at the top too."""

    first: TrustedAnswer | None = field(metadata=FLAT)
    publishers: tuple[TrustedAnswer, ...]

    @classmethod
    def of(cls, found: Sequence[TrustedPublisher]) -> TrustedList:
        """Return the answer about all publishers."""
        rows = tuple(map(TrustedAnswer.of, found))
        return cls(rows[0] if rows else None, rows)


@dataclass(frozen=True, slots=True)
class TrustRemoved:
    """What `trust remove` says: the publisher as it was."""

    trusted: TrustedAnswer = field(metadata=FLAT)
    removed: bool
