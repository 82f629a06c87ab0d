"""The memory of each swarm in the state store: `health/<snapshot>`, of bounded length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.library.state_store import StateStore
from p2pqwen.stewardship.swarm_health import Day, Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, WebSeedLook
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonObject
from p2pqwen.values.utc_time import format_time, parse_time

_PREFIX = "health/"


class HealthStore:
    """The records of one home. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def all(self) -> dict[SnapshotId, SwarmRecord]:
        """Return every record."""
        return {SnapshotId.parse(name): _read(value) for name, value in self._store.items(_PREFIX).items()}

    def change(
        self, changes: Mapping[SnapshotId, Callable[[SwarmRecord], SwarmRecord]]
    ) -> dict[SnapshotId, SwarmRecord]:
        """Replace many records by what a function makes of each, in one transaction, and return them."""
        names = {f"{_PREFIX}{snapshot}": snapshot for snapshot in changes}
        written = self._store.update_all({name: _on_json(changes[snapshot]) for name, snapshot in names.items()})
        return {names[name]: _read(value) for name, value in written.items()}


def _on_json(change: Callable[[SwarmRecord], SwarmRecord]) -> Callable[[Any], Any]:
    return lambda value: _to_json(change(_read(value)))


def _to_json(record: SwarmRecord) -> JsonObject:
    web = record.web
    complete = record.last_complete_seen
    return {
        "looks": [
            [one.source.value, format_time(one.at), one.seeds, one.peers, one.estimated] for one in record.sightings
        ],
        "days": [[one.day.isoformat(), one.seeds, one.peers] for one in record.days],
        "complete": None if complete is None else format_time(complete),
        "web": None if web is None else [format_time(web.at), web.asked, web.ok, [list(one) for one in web.places]],
    }


def _read(value: Mapping[str, Any] | None) -> SwarmRecord:
    """Read a stored record; a malformed one counts as none, and costs a look."""
    try:
        if value is None:
            return NEVER_SEEN
        complete, web = value["complete"], value["web"]
        return SwarmRecord(
            tuple(
                Sighting(parse_time(at), Source(source), seeds, peers, estimated)
                for source, at, seeds, peers, estimated in value["looks"]
            ),
            tuple(Day(date.fromisoformat(day), seeds, peers) for day, seeds, peers in value["days"]),
            None if complete is None else parse_time(complete),
            None if web is None else _web(*web),
        )
    except (KeyError, TypeError, ValueError, FormatError):
        return NEVER_SEEN


def _web(at: str, asked: int, ok: int, places: Sequence[tuple[str, bool]] = ()) -> WebSeedLook:
    return WebSeedLook(parse_time(at), asked, ok, tuple((url, right) for url, right in places))
