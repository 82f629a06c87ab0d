"""What the user chose and the node counted, in the state store: limits, paused snapshots, priorities, transfers.

    limits                     rates, quota, hours
    choice/<snapshot>          paused, priority, pinned
    transfer/<snapshot>        all bytes ever uploaded and downloaded, for the ratio
    month/<yyyy-mm>            bytes uploaded and downloaded in that month, for the quota

A changed choice is written here whether or not a node runs; a running node looks every second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from p2pqwen.errors import UsageError
from p2pqwen.library.state_store import Followed, StateStore
from p2pqwen.operations.node.limits import Limits, LimitsAnswer, Priority, allowance, month_of
from p2pqwen.values.json_value import object_json
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose for one snapshot."""

    paused: bool = False
    priority: Priority = Priority.NORMAL
    pinned: bool = False

    def to_json(self) -> JsonObject:
        """Return the stored document."""
        return object_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Choice:
        """Read a stored document; anything else is the default."""
        if not isinstance(value, Mapping):
            return cls()
        try:
            priority = Priority.read(str(value.get("priority", Priority.NORMAL)))
        except UsageError:
            priority = Priority.NORMAL
        return cls(paused=value.get("paused") is True, priority=priority, pinned=value.get("pinned") is True)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Payload bytes of one snapshot or one month."""

    uploaded: int = 0
    downloaded: int = 0

    def plus(self, uploaded: int, downloaded: int = 0) -> Transfer:
        """Return the sum."""
        return Transfer(self.uploaded + uploaded, self.downloaded + downloaded)


class Choices:
    """The user's choices and the node's counters in one store. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._all = Followed(store, self._read_all)
        self._transfers = Followed(store, self._read_transfers)

    def limits(self) -> Limits:
        """Return the limits; invalid stored ones count as none."""
        return _limits(self._store.get("limits"))

    def change_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        """Replace the limits by what `change` makes of them, in one transaction."""
        return _limits(self._store.update("limits", lambda before: change(_limits(before)).to_json()))

    def of(self, snapshot: SnapshotId) -> Choice:
        """Return the choice for one snapshot."""
        return Choice.from_json(self._store.get(f"choice/{snapshot}"))

    def all(self) -> Mapping[str, Choice]:
        """Return every choice, by `org/model@commit`."""
        return self._all.now()

    def pause(self, snapshot: SnapshotId, *, paused: bool) -> Choice:
        """Pause or resume a snapshot."""
        return self._change(snapshot, lambda choice: replace(choice, paused=paused))

    def pin(self, snapshot: SnapshotId, *, pinned: bool) -> Choice:
        """Pin or unpin a snapshot."""
        return self._change(snapshot, lambda choice: replace(choice, pinned=pinned))

    def prioritise(self, snapshot: SnapshotId, priority: Priority) -> Choice:
        """Set a snapshot's priority."""
        return self._change(snapshot, lambda choice: replace(choice, priority=priority))

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget a snapshot that was removed; the months keep counting its transfers."""
        for kind in ("choice", "transfer", "scrub", "torrent", "unverified"):
            self._store.delete(f"{kind}/{snapshot}")

    def count(self, moved: Mapping[SnapshotId, Transfer], now: datetime, *, besides: int = 0) -> None:
        """Add the transfers since the last call, and `besides` bytes sent of no snapshot; `now` is local time."""
        uploaded = sum(one.uploaded for one in moved.values()) + besides
        total = Transfer(uploaded, sum(one.downloaded for one in moved.values()))
        for snapshot, one in moved.items():
            self._add(f"transfer/{snapshot}", one)
        self._add(f"month/{month_of(now)}", total)

    def month(self, now: datetime) -> Transfer:
        """Return what was transferred in the month of `now`, local time."""
        return _transfer(self._store.get(f"month/{month_of(now)}"))

    def transfers(self) -> Mapping[str, Transfer]:
        """Return all that was ever transferred, by `org/model@commit`."""
        return self._transfers.now()

    def _read_all(self) -> Mapping[str, Choice]:
        return {name: Choice.from_json(value) for name, value in self._store.items("choice/").items()}

    def _read_transfers(self) -> Mapping[str, Transfer]:
        return {name: _transfer(value) for name, value in self._store.items("transfer/").items()}

    def _add(self, name: str, more: Transfer) -> None:
        if more != Transfer():
            self._store.update(name, lambda before: _added(before, more))

    def _change(self, snapshot: SnapshotId, change: Callable[[Choice], Choice]) -> Choice:
        changed = self._store.update(f"choice/{snapshot}", lambda before: change(Choice.from_json(before)).to_json())
        return Choice.from_json(changed)


def _limits(value: Mapping[str, Any] | None) -> Limits:
    try:
        return Limits.from_json(value)
    except UsageError:
        return Limits()


def _transfer(value: Mapping[str, Any] | None) -> Transfer:
    if not isinstance(value, Mapping):
        return Transfer()
    return Transfer(int(value.get("uploaded", 0)), int(value.get("downloaded", 0)))


def _added(before: Mapping[str, Any] | None, more: Transfer) -> dict[str, int]:
    known = _transfer(before)
    return {"uploaded": known.uploaded + more.uploaded, "downloaded": known.downloaded + more.downloaded}


def limits_answer(limits: Limits, used: Transfer, now: datetime) -> LimitsAnswer:
    """Return the limits with what was `used` this month; `now` is local time."""
    allowed = allowance(limits, now=now, uploaded_this_month=used.uploaded)
    return LimitsAnswer(
        limits.upload,
        limits.download,
        limits.monthly_upload,
        tuple(map(str, limits.hours)),
        used.uploaded,
        used.downloaded,
        allowed.may_upload,
        allowed.may_transfer,
        allowed.reason or None,
    )
