"""What makes one node's choices its own, in the state store: `steward`.

The id is drawn once and has no other meaning. Without it, the node would decide near-ties differently. Without the list
of adopted snapshots, the node would no longer remove any of them by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.library.state_store import StateStore
from p2pqwen.stewardship.spread import NODE_ID_SIZE
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.utc_time import format_time, parse_time

_NAME = "steward"


class StewardStore:
    """The node's id, the budget it was last given, and what it adopted by itself. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def node_id(self) -> bytes:
        """Return the id, drawn at the first call."""

        def with_id(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what was stored
            known = value if isinstance(value, Mapping) else {}
            return {**known} if _id(known) is not None else {**known, "node": secrets.token_hex(NODE_ID_SIZE)}

        found = _id(self._store.update(_NAME, with_id))
        assert found is not None  # noqa: S101 - just written
        return found

    def budget(self) -> int | None:
        """Return the bytes this node may hold in all, None before the user set it."""
        budget = self._value().get("budget")
        return budget if isinstance(budget, int) and budget >= 0 else None

    def set_budget(self, budget: int) -> None:
        """Remember the budget."""
        self._change(budget=budget)

    def adopted(self) -> frozenset[SnapshotId]:
        """Return the snapshots that the node adopted by itself, present or not."""
        return _snapshots(self._value(), "adopted")

    def change_adopted(self, more: Iterable[SnapshotId] = (), *, without: Iterable[SnapshotId] = ()) -> None:
        """Add some and drop others in one step, because a user's fetch in another process may drop one meanwhile."""
        added, dropped = set(map(str, more)), set(map(str, without))

        def changed(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what was stored
            known = dict(value) if isinstance(value, Mapping) else {}
            before = {str(one) for one in _snapshots(known, "adopted")}
            return {**known, "adopted": sorted((before | added) - dropped)}

        self._store.update(_NAME, changed)

    def hand_over(self, snapshot: SnapshotId) -> None:
        """Record that a snapshot is now the user's; writes only if the node had adopted it."""
        if snapshot in self.adopted():
            self.change_adopted(without={snapshot})

    def arrived(self) -> frozenset[SnapshotId]:
        """Return the adopted snapshots that were seen here: only these can have been removed by the user."""
        return _snapshots(self._value(), "arrived")

    def set_arrived(self, snapshots: Iterable[SnapshotId]) -> None:
        """Remember these snapshots and no others."""
        self._change(arrived=sorted(map(str, snapshots)))

    def declined(self) -> frozenset[SnapshotId]:
        """Return the snapshots that the node adopted and the user removed; it does not adopt them again."""
        return _snapshots(self._value(), "declined")

    def set_declined(self, snapshots: Iterable[SnapshotId]) -> None:
        """Remember these snapshots and no others."""
        self._change(declined=sorted(map(str, snapshots)))

    def planned(self) -> datetime | None:
        """Return when the node last planned by its schedule, None if it never did."""
        try:
            return parse_time(self._value()["planned"])
        except (KeyError, FormatError, TypeError):
            return None

    def set_planned(self, when: datetime) -> None:
        """Remember when it planned."""
        self._change(planned=format_time(when))

    def _value(self) -> Mapping[str, Any]:
        value = self._store.get(_NAME)
        return value if isinstance(value, Mapping) else {}

    def _change(self, **facts: Any) -> None:  # noqa: ANN401 - what JSON may hold
        self._store.update(_NAME, lambda value: {**(value if isinstance(value, Mapping) else {}), **facts})


def _snapshots(value: Mapping[str, Any], name: str) -> frozenset[SnapshotId]:
    found = set()
    for one in value.get(name) or ():
        try:
            found.add(SnapshotId.parse(one))
        except (FormatError, TypeError, AttributeError):
            continue
    return frozenset(found)


def _id(value: Any) -> bytes | None:  # noqa: ANN401 - what was stored
    try:
        node = bytes.fromhex(value["node"])
    except (KeyError, TypeError, ValueError):
        return None
    return node if len(node) == NODE_ID_SIZE else None
