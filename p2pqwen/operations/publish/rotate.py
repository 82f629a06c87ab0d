"""Hand a publisher over from one root to the next, even if its root keys never meet on one machine.

A root that lacks signatures travels as a draft: a file with the chain and the new root at its end. Each signer adds a
signature with `sign_draft`; once both thresholds are met, `accept_draft` adds the root to a home's chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError, UsageError, about
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import TrustedState, accept_roots
from p2pqwen.index.document import MAX_INDEX_SIZE, MAX_ROOTS
from p2pqwen.index.root import ROOT_ROLE, Root, SignedRoot, parse_signed_root
from p2pqwen.index.rotation import Progress, RootChange, add_signatures, describe_change, next_root, progress
from p2pqwen.library import durable
from p2pqwen.library.key_store import KeyStore
from p2pqwen.operations.publish.keys import Passphrase, format_public, open_keys
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import parse_object


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new root, who signed it so far, and the draft it waits in, None once it is part of this home's chain."""

    publisher: Sha256
    root: Root
    progress: Progress
    draft: Path | None


def rotate(
    store: KeyStore,
    change: RootChange,
    new_keys: tuple[PrivateKey, ...],
    *,
    draft: Path | None,
    passphrase: Passphrase,
    new_passphrase: str | None,
) -> Rotation:
    """Make the next root, sign it with the root keys in this home, and accept it or write a draft.

    `new_keys` are fresh private keys that `change` adds; they are written before the root that names them.
    Raises `UsageError` when signatures are missing and no draft was named.
    """
    with durable.lock(store.lock_path):
        roots = store.roots()
        if len(roots) >= MAX_ROOTS:
            raise UsageError(f"a publisher has at most {MAX_ROOTS} roots, and this one has", got=len(roots))
        old = roots[-1].root
        root = next_root(old, change)
        here = {key.public.keyid: key for key in new_keys}
        wanted = dict.fromkeys((*old.roles[ROOT_ROLE].keyids, *root.roles[ROOT_ROLE].keyids))
        signers = open_keys(store, wanted, passphrase, [root, old], f"sign root {root.version}")
        signers += [here[keyid] for keyid in wanted if keyid in here]
        signed = add_signatures(SignedRoot(root, []), signers)
        state = progress(old, signed)
        if not state.complete and draft is None:
            raise UsageError(
                f"root {root.version} is not signed by enough keys of root {old.version} and of its own",
                expected=f"{state.old.threshold} and {state.new.threshold}",
                got=f"{len(state.old.signed_by)} and {len(state.new.signed_by)}",
                hint="use the root key that is kept elsewhere, or write a draft with --draft FILE, to which others "
                "add theirs with `p2pqwen keys sign FILE`; if too few are left anywhere, only a new publisher helps",
            )
        for key in new_keys:
            store.add_key(key, new_passphrase, format_public(root.keys[key.public.keyid]))
        return _finish(store, (*roots, signed), state, draft)


def sign_draft(
    store: KeyStore,
    draft: Path,
    *,
    passphrase: Passphrase,
    approve: Callable[[Root, Sequence[str]], bool] = lambda *_: True,
    report: Report = ignore,
) -> Rotation:
    """Add the signatures of the root keys in this home to a draft, after showing what it changes.

    Raises `NotFoundError` when none of the keys is held, `P2pqwenError` when it is not approved.
    """
    roots = read_roots(draft)
    if len(roots) < 2:
        raise UsageError(f"{draft} holds no new root to sign")
    own = store.roots() if store.exists else ()
    # Checked against the chain here: a home that has root N must not sign another root N.
    before = accept_roots(roots[:-1], TrustedState(own[0].root.digest if own else None, own))
    signed = roots[-1]
    old, root = before[-1].root, signed.root
    wanted = dict.fromkeys((*old.roles[ROOT_ROLE].keyids, *root.roles[ROOT_ROLE].keyids))
    keys = open_keys(store, wanted, passphrase, [root, old], f"sign root {root.version} in {draft}")
    if not keys:
        raise NotFoundError("none of the root keys that may sign this is in this home", hint="see `p2pqwen keys show`")
    for line in describe_change(old, root):
        report(Notice("info", line))
    labels = {keyid: key.label for one in (old, root) for keyid, key in one.keys.items()}
    if not approve(root, [labels[key.public.keyid] for key in keys]):
        raise P2pqwenError("not signed: the new root was not approved")
    signed = add_signatures(signed, keys)
    state = progress(old, signed)
    write_roots(draft, (*before, signed))
    return Rotation(before[0].root.digest, root, state, draft)


def accept_draft(store: KeyStore, file: Path, publisher: Sha256 | None) -> tuple[SignedRoot, ...]:
    """Add the roots of a draft or an index file to this home's chain; raises `RefusedError`, `UsageError`.

    A home without a publisher joins one, whose id must then be given.
    """
    offered = read_roots(file)
    with durable.lock(store.lock_path):
        if store.exists:
            own = store.roots()
            chain = accept_roots(offered, TrustedState(own[0].root.digest, own))
            if len(chain) < len(own):
                raise UsageError(f"{file} ends at root {len(chain)}, this home has root {len(own)}")
        elif publisher is None:
            raise UsageError("this home has no publisher to continue", hint="say which one it joins: --publisher ID")
        else:
            chain = accept_roots(offered, TrustedState(publisher))
        store.write_roots(chain)
    return chain


def read_roots(file: Path) -> tuple[SignedRoot, ...]:
    """Read the roots of a draft or an index file, not yet judged; raises `FormatError`."""
    data = durable.read(file, max_bytes=MAX_INDEX_SIZE)
    with about(file):
        rows = json_fields.array(parse_object(data, max_bytes=MAX_INDEX_SIZE), "roots", limit=MAX_ROOTS)
        if not rows:
            raise FormatError("holds no root")
        return tuple(parse_signed_root(row) for row in rows)


def write_roots(file: Path, roots: tuple[SignedRoot, ...]) -> None:
    """Write a draft."""
    rows = [signed.to_json() for signed in roots]
    durable.write(file, json.dumps({"roots": rows}, indent=1, ensure_ascii=False).encode() + b"\n", mode=durable.SHARED)


def _finish(store: KeyStore, roots: tuple[SignedRoot, ...], state: Progress, draft: Path | None) -> Rotation:
    rotation = Rotation(roots[0].root.digest, roots[-1].root, state, draft)
    if draft is not None:
        write_roots(draft, roots)
    else:
        store.write_roots(accept_roots(roots, TrustedState(roots[0].root.digest)))
    return rotation
