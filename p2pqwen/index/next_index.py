"""Make the next index: which entries stay, which version it gets, which predecessor it names."""

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
    """Return the index that follows `last` and continues the list of `base` (usually the same index).

    Entries, those of unknown kinds included, stay unless they are withdrawn. `entries` are added, or replace their own
    earlier rows; a withdrawn snapshot is not listed again unless it is in `reinstate`. If a new root raised the epoch,
    versions start again at 1. `mirrors` None keeps the old ones. Raises `NotFoundError` for a withdrawal of an unlisted
    snapshot, and for one to reinstate that is not withdrawn.
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
    """Return the position of the index that follows `last` and continues the list of `base`, under a root."""
    highest = _highest(last, base)
    same_epoch = highest is not None and highest.document.epoch == root.index_epoch
    return Position(root.index_epoch, highest.document.version + 1 if highest is not None and same_epoch else 1)


def _highest(*indexes: Accepted | None) -> Accepted | None:
    return max((one for one in indexes if one), key=lambda one: one.position, default=None)


def _not_listed(snapshot: SnapshotId, gone: Withdrawal | None) -> NotFoundError:
    if gone is None:
        return NotFoundError(f"cannot withdraw {snapshot}: the index does not list it")
    return NotFoundError(f"cannot withdraw {snapshot}: it is withdrawn already: {gone.reason}")
