"""Fetch in this process, without a node, but under the same limits and counted like a node's fetch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Event, Progress, Report
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.limits import Allowance, Limits, allowance
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.operations.node.transfer_meter import TransferMeter
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
    ) -> FetchAnswer:
        """Return the result."""


class _SlowerError(Exception):
    """Raised inside a fetch by its report: so much of the quota is used up that a lower rate applies."""


def counted_fetch(carry_out: CarryOut, request: FetchRequest, choices: Choices, report: Report) -> FetchAnswer:
    """Carry out a request; raises `P2pqwenError` when the user's hours forbid it, and what a fetch raises."""
    limits = choices.limits()
    allowed = allowance(limits, now=_now(), uploaded_this_month=0)  # the quota forbids no fetch
    if not allowed.may_transfer:
        raise P2pqwenError(
            f"your limits forbid transfers now: {allowed.reason}",
            hint="change them with `p2pqwen limits --hours always`, or let a running node wait: `p2pqwen seed`",
        )
    while True:
        with suppress(_SlowerError):
            return _counted(carry_out, request, choices, replace(limits, hours=()), report)  # hours end no fetch midway


def _counted(
    carry_out: CarryOut, request: FetchRequest, choices: Choices, limits: Limits, report: Report
) -> FetchAnswer:
    meter = TransferMeter()
    named: list[SnapshotId] = []
    before = choices.month(_now()).uploaded
    allowed = allowance(limits, now=_now(), uploaded_this_month=before)

    def counting(event: Event) -> None:
        meter.see(event)
        report(event)
        if limits.monthly_upload and isinstance(event, Progress) and event.facts:
            now = allowance(limits, now=_now(), uploaded_this_month=before + meter.moved.uploaded)
            if now.upload_of_fetches < allowed.upload_of_fetches:
                raise _SlowerError

    try:
        result = carry_out(request, counting, named.append, allowed=allowed)
        meter.end(result.bytes_fetched)
        return result
    finally:
        if named:
            choices.count({named[-1]: meter.take()}, _now())


def _now() -> datetime:
    return datetime.now().astimezone()
