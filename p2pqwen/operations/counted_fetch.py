"""A fetch in this process, with no node: under the same limits, and counted like one of a node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Event, Report
from p2pqwen.operations.choices import Choices
from p2pqwen.operations.fetch_request import FetchRequest
from p2pqwen.operations.limits import Allowance, allowance
from p2pqwen.operations.transfer_meter import TransferMeter
from p2pqwen.values.snapshot_id import SnapshotId


class CarryOut(Protocol):
    """Carries out a request; see `node.Node.carry_out`."""

    def __call__(
        self,
        request: FetchRequest,
        report: Report,
        on_plan: Callable[[SnapshotId], None],
        *,
        allowed: Allowance,
    ) -> dict[str, Any]:
        """Return the fields of `fetch --json`."""


def counted_fetch(carry_out: CarryOut, request: FetchRequest, choices: Choices, report: Report) -> dict[str, Any]:
    """Carry out a request; raises `P2pqwenError` when the user's hours forbid it, and what a fetch raises."""
    now = datetime.now().astimezone()
    allowed = allowance(choices.limits(), now=now, uploaded_this_month=choices.month(now).uploaded)
    if not allowed.may_transfer:
        raise P2pqwenError(
            f"your limits forbid transfers now: {allowed.reason}",
            hint="change them with `p2pqwen limits --hours always`, or let a running node wait: `p2pqwen seed`",
        )
    meter = TransferMeter()
    named: list[SnapshotId] = []

    def counting(event: Event) -> None:
        meter.see(event)
        report(event)

    try:
        result = carry_out(request, counting, named.append, allowed=allowed)
        meter.end(result)
        return result
    finally:
        if named:
            choices.count({named[-1]: meter.take()}, datetime.now().astimezone())
