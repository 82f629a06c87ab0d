"""Publishers, roots and indexes from fixed keys and dates, so that every test and vector has the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from p2pqwen.index.document import INDEX_TYPE, IndexDocument, Withdrawal, encode_file
from p2pqwen.index.entry import Entry, entry_magnet, row_order
from p2pqwen.index.root import (
    INDEX_ROLE,
    ROOT_ROLE,
    ROOT_TYPE,
    Role,
    Root,
    RootKey,
    SignedRoot,
    parse_root,
    root_document,
)
from p2pqwen.index.upstream import Upstream
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import OriginName, RepoId, SnapshotId
from p2pqwen.values.strict_json import canonical

NOW = datetime(2026, 11, 23, 21, 0, 0, tzinfo=UTC)


def key(name: str) -> PrivateKey:
    """Return the private key of that name, always the same."""
    return PrivateKey.from_seed(hashlib.sha256(f"p2pqwen test key {name}".encode()).digest())


def keyid(name: str) -> Sha256:
    return key(name).public.keyid


@dataclass(frozen=True, slots=True)
class Rules:
    """Which keys may sign: names of keys, and thresholds."""

    root: tuple[str, ...] = ("root",)
    root_threshold: int = 1
    index: tuple[str, ...] = ("index",)
    index_threshold: int = 1
    epoch: int = 0


def make_root(rules: Rules, after: Root | None = None, **changes: Any) -> Root:
    """Return a root with these rules that follows another; `changes` replace fields of its JSON."""
    names = tuple(dict.fromkeys((*rules.root, *rules.index)))
    document = root_document(
        version=1 if after is None else after.version + 1,
        previous=None if after is None else after.digest,
        name="Test Keep",
        keys={keyid(one): RootKey(key(one).public, one) for one in names},
        roles={
            ROOT_ROLE: Role(tuple(map(keyid, rules.root)), rules.root_threshold),
            INDEX_ROLE: Role(tuple(map(keyid, rules.index)), rules.index_threshold),
        },
        index_epoch=rules.epoch,
    )
    return parse_root({**document, **changes})


def sign_root(root: Root, signers: Iterable[str]) -> SignedRoot:
    return SignedRoot(root, [sign(ROOT_TYPE, root.payload, key(one)) for one in signers])


def chain(*rules: Rules) -> tuple[SignedRoot, ...]:
    """Return a chain of roots with these rules, each signed by every root key of its predecessor and its own."""
    signed: list[SignedRoot] = []
    for one in rules:
        previous = signed[-1].root if signed else None
        before = rules[len(signed) - 1].root if signed else ()
        signed.append(sign_root(make_root(one, previous), dict.fromkeys((*before, *one.root))))
    return tuple(signed)


def make_entry(number: int, repo: str = "Qwen/Tiny", **changes: Any) -> Entry:
    """Return an entry whose commit and hashes are derived from its number."""
    seed = f"{repo} {number}".encode()
    snapshot = SnapshotId(RepoId.parse(repo), CommitId(hashlib.sha1(seed).digest()))
    infohash = InfoHash(Sha1(hashlib.sha1(seed + b" v1").digest()), Sha256.of(seed + b" v2"))
    place = snapshot.repo.text
    hub = snapshot.repo.kind.origin is OriginName.HUB
    web_seeds = (
        f"https://huggingface.co/{repo}/resolve/" if hub else f"https://modelscope.cn/models/{place}/resolve/",
    )
    size = 1_000_000 + number
    entry = Entry(
        id=snapshot,
        size=size,
        files=12,
        infohash=infohash,
        magnet=entry_magnet(snapshot, infohash, size, web_seeds=web_seeds, trackers=(), mirrors=()),
        manifest=Sha256.of(seed + b" manifest"),
        proven=True,
        web_seeds=web_seeds,
        license="apache-2.0",
        added=NOW,
        upstream=Upstream.PRESENT,
    )
    return replace(entry, **changes)


def make_document(
    roots: Sequence[SignedRoot], version: int = 1, entries: Iterable[Entry] | None = None, **changes: Any
) -> IndexDocument:
    root = roots[-1].root
    listed = [make_entry(1)] if entries is None else entries
    document = IndexDocument(
        publisher=roots[0].root.digest,
        root_version=root.version,
        epoch=root.index_epoch,
        version=version,
        previous=None,
        issued=NOW,
        entries=tuple(sorted(listed, key=row_order)),
    )
    return replace(document, **changes)


def sign_index(signed: Mapping[str, Any], signers: Iterable[str] = ("index",)) -> list[Any]:
    payload = canonical(dict(signed))
    return [sign(INDEX_TYPE, payload, key(one)) for one in signers]


def make_index(
    roots: Sequence[SignedRoot],
    document: IndexDocument | Mapping[str, Any] | None = None,
    signers: Iterable[str] = ("index",),
) -> bytes:
    """Return an index file; without a document, version 1 with one entry."""
    document = make_document(roots) if document is None else document
    signed = document.to_json() if isinstance(document, IndexDocument) else dict(document)
    return encode_file(roots, signed, sign_index(signed, signers))


def digest(document: IndexDocument) -> Sha256:
    return Sha256.of(canonical(document.to_json()))


def withdrawal(entry: Entry, reason: str) -> Withdrawal:
    return Withdrawal(entry.id, reason)


@dataclass(slots=True)
class Publisher:
    """A publisher with a history: each `publish` is the next version."""

    roots: tuple[SignedRoot, ...] = field(default_factory=lambda: chain(Rules()))
    last: IndexDocument | None = None

    @property
    def id(self) -> Sha256:
        return self.roots[0].root.digest

    def publish(
        self, entries: Iterable[Entry] | None = None, signers: Iterable[str] = ("index",), **changes: Any
    ) -> bytes:
        epoch = self.roots[-1].root.index_epoch
        same = self.last is not None and self.last.epoch == epoch
        version = self.last.version + 1 if self.last is not None and same else 1
        previous = digest(self.last) if self.last is not None else None
        self.last = make_document(self.roots, version, entries, **{"previous": previous, **changes})
        return make_index(self.roots, self.last, signers)
