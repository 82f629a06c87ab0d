"""The index after the last one: which entries stay, which version it gets, what it names as its predecessor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from p2pqwen.errors import NotFoundError
from p2pqwen.index.acceptance import Accepted, Position
from p2pqwen.index.document import IndexDocument, Withdrawal
from p2pqwen.index.entry import Entry, row_order
from p2pqwen.index.root import Root, SignedRoot
from p2pqwen.values.snapshot_id import SnapshotId


def next_document(
    roots: tuple[SignedRoot, ...],
    last: Accepted | None,
    base: Accepted | None,
    entries: Iterable[Entry],
    *,
    withdraw: Mapping[SnapshotId, str],
    mirrors: tuple[str, ...] | None,
    now: datetime,
    reinstate: Collection[SnapshotId] = (),
) -> IndexDocument:
    """Return the index that follows `last`, with the list of `base` (usually the same index) carried on.

    Entries stay unless they are withdrawn, those of kinds that this version does not know too. `entries` are added or
    take the place of their own earlier row; what is withdrawn is not listed again unless it is one to `reinstate`. A
    new root that raised the epoch starts again at version 1. Raises `NotFoundError` for a withdrawal of what is not
    listed, and for one to reinstate that is not withdrawn. `mirrors` None: as before.
    """
    old = base.document if base else None
    listed = {entry.id: entry for entry in old.entries} if old else {}
    withdrawn = {gone.id: gone for gone in old.withdrawn} if old else {}
    for snapshot in reinstate:
        if withdrawn.pop(snapshot, None) is None:
            raise NotFoundError(f"cannot reinstate {snapshot}: the index does not name it as withdrawn")
    listed |= {entry.id: entry for entry in entries if entry.id not in withdrawn}
    for snapshot, reason in withdraw.items():
        if listed.pop(snapshot, None) is None:
            raise _not_listed(snapshot, withdrawn.get(snapshot))
        withdrawn[snapshot] = Withdrawal(snapshot, reason)
    root = roots[-1].root
    highest = _highest(last, base)
    same_epoch = highest is not None and highest.document.epoch == root.index_epoch
    followed = highest if same_epoch else base
    return IndexDocument(
        publisher=roots[0].root.digest,
        root_version=root.version,
        epoch=root.index_epoch,
        version=next_position(root, last, base).version,
        previous=followed.digest if followed else None,
        issued=now,
        mirrors=mirrors if mirrors is not None else old.mirrors if old else (),
        dht=old.dht if old else None,
        entries=tuple(sorted(listed.values(), key=row_order)),
        withdrawn=tuple(sorted(withdrawn.values(), key=lambda gone: gone.id)),
        extra=old.extra if old else {},
        skipped=old.skipped if old else (),
    )


def next_position(root: Root, last: Accepted | None, base: Accepted | None) -> Position:
    """Return the place of the index that follows `last`, with the list of `base` carried on, under a root."""
    highest = _highest(last, base)
    same_epoch = highest is not None and highest.document.epoch == root.index_epoch
    return Position(root.index_epoch, highest.document.version + 1 if highest is not None and same_epoch else 1)


def _highest(*indexes: Accepted | None) -> Accepted | None:
    return max((one for one in indexes if one), key=lambda one: one.position, default=None)


def _not_listed(snapshot: SnapshotId, gone: Withdrawal | None) -> NotFoundError:
    if gone is None:
        return NotFoundError(f"cannot withdraw {snapshot}: the index does not list it")
    return NotFoundError(f"cannot withdraw {snapshot}: it is withdrawn already: {gone.reason}")
