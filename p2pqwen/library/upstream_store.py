"""What is known of each snapshot on the Hub, in the state store: `upstream/<snapshot>`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.state_store import Followed, Json, StateStore
from p2pqwen.stewardship.upstream import UpstreamRecord, observe
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonObject
from p2pqwen.values.utc_time import format_time, parse_time

_PREFIX = "upstream/"


class UpstreamStore:
    """The records of one home. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._all = Followed(store, self._read_all)

    def get(self, snapshot: SnapshotId) -> UpstreamRecord | None:
        """Return a snapshot's record, None if the Hub was never asked."""
        return _read(self._store.get(f"{_PREFIX}{snapshot}"))

    def all(self) -> Mapping[SnapshotId, UpstreamRecord]:
        """Return every record."""
        return self._all.now()

    def _read_all(self) -> Mapping[SnapshotId, UpstreamRecord]:
        found = {}
        for name, value in self._store.items(_PREFIX).items():
            if (record := _read(value)) is not None:
                found[SnapshotId.parse(name)] = record
        return found

    def states(self) -> dict[SnapshotId, Upstream]:
        """Return the state of every snapshot the Hub was asked about."""
        return {snapshot: record.state for snapshot, record in self.all().items()}

    def observe(
        self, snapshot: SnapshotId, *, shown: bool, now: datetime
    ) -> tuple[UpstreamRecord | None, UpstreamRecord]:
        """Add an answer of the Hub; return the record before and after."""
        seen: list[UpstreamRecord | None] = []

        def fold(value: Json | None) -> Json:
            seen.append(_read(value))
            return _to_json(observe(seen[-1], shown=shown, now=now))

        after = _read(self._store.update(f"{_PREFIX}{snapshot}", fold))
        assert after is not None  # noqa: S101 - just written
        return seen[-1], after


def _to_json(record: UpstreamRecord) -> JsonObject:
    return {
        "state": record.state.value,
        "since": format_time(record.since),
        "looked": format_time(record.looked),
        "last_present": None if record.last_present is None else format_time(record.last_present),
    }


def _read(value: Mapping[str, Any] | None) -> UpstreamRecord | None:
    """Read a stored record; a malformed one counts as none, and costs a request."""
    try:
        if value is None:
            return None
        last = value["last_present"]
        return UpstreamRecord(
            Upstream(value["state"]),
            since=parse_time(value["since"]),
            looked=parse_time(value["looked"]),
            last_present=None if last is None else parse_time(last),
        )
    except (KeyError, TypeError, ValueError, FormatError):
        return None
