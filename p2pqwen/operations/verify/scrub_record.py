"""The record of a snapshot's scrubs: when the last one ended, how far the next one is, and the damage found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import FormatError
from p2pqwen.values.json_value import to_json
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonObject
from p2pqwen.values.utc_time import format_time, parse_time

if TYPE_CHECKING:
    from p2pqwen.library.state_store import StateStore

_PREFIX = "scrub/"


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged file: the torrent's pieces that must be fetched again, and what was expected and got.

    No pieces: they match the torrent, but the manifest differs, so no peer can send better ones.
    """

    path: str
    pieces: tuple[int, ...]
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class ScrubRecord:
    """What is known of one snapshot. `read` are the files of the pass under way; times are UTC."""

    finished: datetime | None = None
    read: frozenset[str] = frozenset()
    damage: tuple[Damage, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the stored document."""
        return {
            "finished": None if self.finished is None else format_time(self.finished),
            "read": to_json(sorted(self.read)),
            "damage": [[one.path, list(one.pieces), one.expected, one.got] for one in self.damage],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> ScrubRecord:
        """Read the stored document; anything else counts as never scrubbed."""
        try:
            if value is None:
                return cls()
            finished = None if value["finished"] is None else parse_time(value["finished"])
            damage = tuple(
                Damage(str(path), tuple(map(int, pieces)), str(expected), str(got))
                for path, pieces, expected, got in value["damage"]
            )
            return cls(finished, frozenset(map(str, value["read"])), damage)
        except (KeyError, TypeError, ValueError, FormatError):
            return cls()


def scrub_records(store: StateStore) -> dict[str, ScrubRecord]:
    """Return what is known of every snapshot, by `org/model@commit`."""
    return {name: ScrubRecord.from_json(value) for name, value in store.items(_PREFIX).items()}


def record_name(snapshot: SnapshotId) -> str:
    """Return the name of a snapshot's record in the state store."""
    return f"{_PREFIX}{snapshot}"
