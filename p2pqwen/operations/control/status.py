"""The current status of a home, from its running node or from what is on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.events import Report, ignore
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.archive.keeper_answer import ArchiveAnswer
from p2pqwen.operations.archive.upstream_answer import UpstreamAnswer
from p2pqwen.operations.archive.watch_record import WatchAnswer
from p2pqwen.operations.node.job_answer import JobAnswer
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.preferences import Choice, Choices, Transfer, limits_answer
from p2pqwen.operations.node.state import NodeAddress, NodeState, SnapshotRow, SnapshotState, node_status
from p2pqwen.operations.verify.scrub_record import ScrubRecord, scrub_records
from p2pqwen.operations.verify.standings import Standings
from p2pqwen.stewardship.upstream import UpstreamRecord
from p2pqwen.values.derived import Derived
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One snapshot, as `status --json` shows it."""

    row: SnapshotRow = field(metadata=FLAT)
    upstream: UpstreamAnswer = field(metadata=FLAT)

    @property
    def id(self) -> SnapshotId:
        """The snapshot."""
        return self.row.state.id


class StatusRows:
    """Rows of successive looks: an unchanged row is the same object. Thread-safe."""

    def __init__(self) -> None:
        self._made: Derived[SnapshotState, StatusRow] = Derived()

    def all(
        self, states: Iterable[SnapshotState], upstream: Mapping[SnapshotId, UpstreamRecord]
    ) -> tuple[StatusRow, ...]:
        """Return the rows, with what is known of each snapshot on the Hub; the same object if nothing changed."""
        return self._made.look(
            states, lambda one: StatusRow(one.row, UpstreamAnswer.of(upstream.get(one.id))), besides=(upstream,)
        )


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The answer of `status --json`; `node` is None if none runs, `watch` if nothing is watched.

    `archive` is None if no node of this home ever adopted by itself.
    """

    node: NodeAddress | None
    watch: WatchAnswer | None
    archive: ArchiveAnswer | None
    limits: LimitsAnswer
    snapshots: tuple[StatusRow, ...]


@dataclass(frozen=True, slots=True)
class NodeStatusAnswer:
    """The answer of `GET /v1/status`: as `status --json`, with the fetches that have not ended."""

    node: NodeAddress
    snapshots: tuple[StatusRow, ...]
    watch: WatchAnswer | None
    fetches: tuple[JobAnswer, ...]
    limits: LimitsAnswer

    @property
    def said(self) -> NodeState:
        """What the node says about itself and its snapshots."""
        return NodeState(self.node, tuple(one.row.state for one in self.snapshots))


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a home. `node` is None if none runs."""

    node: NodeAddress | None
    rows: tuple[SnapshotState, ...]
    limits: LimitsAnswer

    @property
    def held_back(self) -> str:
        """What the user's limits forbid now, and why; empty if they forbid nothing."""
        if not self.limits.reason:
            return ""
        what = "sent" if self.limits.may_transfer else "sent or fetched"
        return f"nothing is {what} now: {self.limits.reason}; see `p2pqwen limits`"

    @property
    def by_business(self) -> list[SnapshotState]:
        """The rows, with damaged and active ones first."""
        return sorted(self.rows, key=lambda row: (row.health != "damaged", -row.rate, row.state == "seeding", row.id))


def status(
    library: Library,
    home: Home,
    store: StateStore,
    asked: NodeStatusAnswer | None,
    standings: Standings,
    report: Report = ignore,
) -> Status:
    """Return the status of a home; `asked` is its node's answer to `GET /v1/status`, None if none runs."""
    choices = Choices(store)
    if asked is not None:
        node, rows = node_status(library, home, report, node=asked.said)
        limits = asked.limits
    else:
        node, rows = node_status(library, home, report)
        now = datetime.now().astimezone()
        limits = limits_answer(choices.limits(), choices.month(now), now)
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
    return Status(None if node is None else node.node, tuple(at_rest), limits)
