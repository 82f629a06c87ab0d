"""Make the next root: which keys join, which leave, which thresholds change; and count its signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from p2pqwen.errors import FormatError, UsageError
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
from p2pqwen.signing.envelope import ThresholdResult, sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.values.digest import Sha256

_KNOWN = frozenset({"type", "spec", "version", "previous", "name", "keys", "roles", "index_epoch"})


@dataclass(frozen=True, slots=True)
class RootChange:
    """The changes of a new root. A stolen key leaves, and the index epoch rises above everything that it signed."""

    name: str | None = None
    add: Mapping[str, tuple[RootKey, ...]] = field(default_factory=dict)  # by role
    remove: tuple[Sha256, ...] = ()
    stolen: tuple[Sha256, ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)  # by role


@dataclass(frozen=True, slots=True)
class Progress:
    """Which of the old and the new root keys signed a new root."""

    old: ThresholdResult
    new: ThresholdResult

    @property
    def complete(self) -> bool:
        """Whether both thresholds are met, so that readers follow."""
        return self.old.met and self.new.met


def next_root(root: Root, change: RootChange) -> Root:
    """Return the root after `root`; raises `UsageError` for an impossible change, or if nothing would change."""
    leaving = {*change.remove, *change.stolen}
    if unknown := next((keyid for keyid in leaving if keyid not in root.keys), None):
        raise UsageError(f"root {root.version} has no key {unknown}", hint="see `p2pqwen keys show`")
    keys = {keyid: key for keyid, key in root.keys.items() if keyid not in leaving}
    roles = {}
    for role in (ROOT_ROLE, INDEX_ROLE):
        keyids = [keyid for keyid in root.roles[role].keyids if keyid not in leaving]
        for key in change.add.get(role, ()):
            _refuse_label_clash(key, keys)
            keys[key.public.keyid] = key
            keyids.append(key.public.keyid)
        threshold = change.thresholds.get(role, root.roles[role].threshold)
        if not 1 <= threshold <= len(set(keyids)):
            raise UsageError(
                f"the {role} threshold would be {threshold} with {len(set(keyids))} key(s)",
                hint=f"add a key with --new-{role}-key or --add-{role}, or set --{role}-threshold",
            )
        roles[role] = Role(tuple(dict.fromkeys(keyids)), threshold)
    used = {keyid for role in roles.values() for keyid in role.keyids}
    document = root_document(
        version=root.version + 1,
        previous=root.digest,
        name=change.name or root.name,
        keys={keyid: key for keyid, key in keys.items() if keyid in used},
        roles=roles,
        index_epoch=root.index_epoch + (1 if change.stolen else 0),
    )
    kept = {name: value for name, value in root.document.items() if name not in _KNOWN}
    try:
        new = parse_root({**kept, **document})
    except FormatError as error:
        raise UsageError.of(error) from error
    if (new.name, new.keys, new.roles, new.index_epoch) == (root.name, root.keys, root.roles, root.index_epoch):
        raise UsageError("the new root would change nothing", hint="see `p2pqwen keys rotate --help`")
    return new


def describe_change(old: Root, new: Root) -> list[str]:
    """Return what a new root changes, in lines of words for the person who is asked to sign it."""
    words = [f"name       from {old.name} to {new.name}"] if new.name != old.name else []
    for role in (ROOT_ROLE, INDEX_ROLE):
        before, after = old.roles[role], new.roles[role]
        for root, keyids, verb in ((new, after.keyids, "joins"), (old, before.keyids, "leaves")):
            other = before.keyids if root is new else after.keyids
            words += [f"{role:<9}  {keyid}  {root.keys[keyid].label} {verb}" for keyid in keyids if keyid not in other]
        if (before.threshold, len(before.keyids)) != (after.threshold, len(after.keyids)):
            words.append(
                f"{role:<9}  {after.threshold} of {len(after.keyids)} keys must sign, "
                f"before {before.threshold} of {len(before.keyids)}"
            )
    if new.index_epoch != old.index_epoch:
        words.append(f"epoch      from {old.index_epoch} to {new.index_epoch}: every index signed before is outranked")
    return words


def _refuse_label_clash(key: RootKey, keys: Mapping[Sha256, RootKey]) -> None:
    # Torrent signatures are keyed by their signer's label.
    if any(one.label == key.label and keyid != key.public.keyid for keyid, one in keys.items()):
        raise UsageError(f"there is a key with the label {key.label!r} already")


def add_signatures(signed: SignedRoot, keys: Iterable[PrivateKey]) -> SignedRoot:
    """Return the root with these keys' signatures added, replacing their own earlier ones."""
    rows = signed.signatures if isinstance(signed.signatures, list) else []
    new = [sign(ROOT_TYPE, signed.root.payload, key) for key in keys]
    signers = {row["keyid"] for row in new}
    kept = [row for row in rows if not (isinstance(row, dict) and row.get("keyid") in signers)]
    return SignedRoot(signed.root, [*kept, *new])


def progress(old: Root, signed: SignedRoot) -> Progress:
    """Count the signatures of a new root so far; raises `FormatError` if it does not follow `old`."""
    new = signed.root
    if new.version != old.version + 1 or new.previous != old.digest:
        raise FormatError(
            "the new root does not follow the current one", expected=f"root {old.version + 1} after {old.digest}",
            got=f"root {new.version} after {new.previous}",
        )  # fmt: skip
    return Progress(
        old.check(ROOT_ROLE, ROOT_TYPE, new.payload, signed.signatures),
        new.check(ROOT_ROLE, ROOT_TYPE, new.payload, signed.signatures),
    )
