"""Sample status of a node: rows of snapshots, limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from p2pqwen.index.upstream import Upstream
from p2pqwen.operations.archive.upstream import UpstreamAnswer
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusRow
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.state import NodeAddress, SnapshotState
from tests.support.publishing import make_entry

ONE, TWO = (make_entry(number).id for number in (1, 2))
LIMITS = LimitsAnswer(0, 0, 0, (), 0, 0, may_upload=True, may_transfer=True, reason=None)


def row(snapshot, upstream: Upstream = Upstream.UNKNOWN, **changes: Any) -> StatusRow:
    state = SnapshotState(snapshot, "seeding", progress=1.0, size=5, held_bytes=5)
    return StatusRow(replace(state, **changes).row, UpstreamAnswer(upstream))


def status(*rows: StatusRow, limits: LimitsAnswer = LIMITS) -> NodeStatusAnswer:
    fields = dict.fromkeys(NodeStatusAnswer.__dataclass_fields__)
    given = {"node": NodeAddress(1, "127.0.0.1:1"), "snapshots": rows, "fetches": (), "limits": limits}
    return NodeStatusAnswer(**(fields | given))
