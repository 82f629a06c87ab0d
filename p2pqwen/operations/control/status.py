"""How a home stands at this moment: asked of its running node, or put together from what lies on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from p2pqwen.events import Report, ignore
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.control.snapshots import limits_fields
from p2pqwen.operations.node.preferences import Choice, Choices, Transfer
from p2pqwen.operations.node.state import NodeState, SnapshotState, node_status, read_node
from p2pqwen.operations.verify.scrub import ScrubRecord, scrub_records
from p2pqwen.operations.verify.standings import Standings


@dataclass(frozen=True, slots=True)
class Status:
    """A moment of a home. `node` is None where none runs; `limits` are the fields of `limits --json`."""

    node: NodeState | None
    rows: tuple[SnapshotState, ...]
    limits: Mapping[str, Any]

    @property
    def held_back(self) -> str:
        """What the user's limits forbid at this moment, and why; empty where they forbid nothing."""
        if not (reason := self.limits.get("reason")):
            return ""
        what = "sent" if self.limits.get("may_transfer") else "sent or fetched"
        return f"nothing is {what} now: {reason}; see `p2pqwen limits`"

    @property
    def by_business(self) -> list[SnapshotState]:
        """The rows with those first that something is going on with, or that need somebody."""
        return sorted(self.rows, key=lambda row: (row.health != "damaged", -row.rate, row.state == "seeding", row.id))


def status(
    library: Library,
    home: Home,
    store: StateStore,
    asked: Mapping[str, Any] | None,
    standings: Standings,
    report: Report = ignore,
) -> Status:
    """Return how a home stands; `asked` is what its node answered to `GET /v1/status`, None if none answers."""
    choices = Choices(store)
    if asked is not None:
        node, rows = node_status(library, home, report, node=read_node(asked))
        limits = dict(asked.get("limits", {}))
    else:
        node, rows = node_status(library, home, report)
        limits = limits_fields(choices.limits(), choices, datetime.now().astimezone())
    known, sent, scrubs = choices.all(), choices.transfers(), scrub_records(store)
    live = set() if node is None else {row.id for row in node.snapshots}
    resting = {row.id for row in rows} - live
    stood = standings.of(one for one in library.all() if one.id in resting)
    stood |= standings.away(resting - stood.keys())
    at_rest = [
        row
        if row.id in live
        else row.with_memory(
            known.get(str(row.id), Choice()), sent.get(str(row.id), Transfer()), scrubs.get(str(row.id), ScrubRecord())
        ).with_standing(stood.get(row.id))
        for row in rows
    ]
    return Status(node, tuple(at_rest), limits)
