"""Fetch many snapshots, by the running node or in this process; one that fails stops no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pqwen.containment import each
from p2pqwen.errors import NetworkError, P2pqwenError
from p2pqwen.events import Notice, Progress, Report, about, ignore
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import JobAnswer, JobsAnswer, JobState
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.server.control_client import ControlClient
from p2pqwen.values.snapshot_id import SnapshotId

LOOK_EVERY = 0.5
_STUCK = frozenset({JobState.WAITING, JobState.PAUSED})


@dataclass(frozen=True, slots=True)
class Brought:
    """The outcome for one snapshot; if `error` is None, it is held and verified."""

    snapshot: SnapshotId
    error: P2pqwenError | None = None


Request = Callable[[SnapshotId], FetchRequest]
FetchHere = Callable[[FetchRequest, Report], FetchAnswer]


def fetch_batch_here(
    snapshots: Sequence[SnapshotId], request: Request, fetch: FetchHere, report: Report = ignore
) -> list[Brought]:
    """Fetch the snapshots one after another in this process."""
    done: list[Brought] = []

    def bring(snapshot: SnapshotId) -> None:
        fetch(request(snapshot), about(str(snapshot), len(done) + 1, len(snapshots), report))
        report(Notice("info", f"{len(done) + 1} of {len(snapshots)} is complete: {snapshot}"))
        done.append(Brought(snapshot))

    def failed(snapshot: SnapshotId, error: P2pqwenError) -> None:
        report(Notice("warning", f"{snapshot}: {error.message}"))
        done.append(Brought(snapshot, error))

    each(snapshots, bring, failed=failed)
    return done


def bring_by_node(
    snapshots: Sequence[SnapshotId],
    request: Request,
    node: ControlClient,
    report: Report = ignore,
) -> list[Brought]:
    """Hand the snapshots to the running node and wait until each fetch has ended or cannot go on for now.

    The latter stay with the node. Raises `NetworkError` when the node stops before that.
    """
    numbers: dict[SnapshotId, int] = {}
    refused: list[Brought] = []

    def hand_over(snapshot: SnapshotId) -> None:
        numbers[snapshot] = node.call(JobAnswer, "POST", "/v1/fetches", request(snapshot).to_json()).id

    def failed(snapshot: SnapshotId, error: P2pqwenError) -> None:
        if isinstance(error, NetworkError):
            raise error
        report(Notice("warning", f"{snapshot}: {error.message}"))
        refused.append(Brought(snapshot, error))

    each(snapshots, hand_over, failed=failed)
    why = node.call(LimitsAnswer, "GET", "/v1/limits").reason
    if numbers and why:
        report(Notice("info", f"the node waits: {why}"))
    rows: dict[int, JobAnswer] = {}
    while True:
        rows |= {row.id: row for row in node.call(JobsAnswer, "GET", "/v1/fetches").fetches}
        mine = [rows[number] for number in numbers.values() if number in rows]
        total = [row.total for row in mine if row.total]
        report(Progress("fetch", sum(row.done for row in mine), sum(total) or None, _detail(mine)))
        if all(row.state.ended or row.state in _STUCK for row in mine):
            return [*(Brought(snapshot, _error(rows[number])) for snapshot, number in numbers.items()), *refused]
        time.sleep(LOOK_EVERY)


def _detail(rows: Sequence[JobAnswer]) -> str:
    done = sum(row.state is JobState.DONE for row in rows)
    return f"{done} of {len(rows)} snapshots"


def _error(row: JobAnswer) -> P2pqwenError | None:
    if row.state is JobState.DONE:
        return None
    if row.state is JobState.WAITING:
        return NetworkError(f"{row.error}; the node tries it again")
    if row.problem is not None:
        return row.problem.error
    return P2pqwenError(f"the fetch was {row.state}")
