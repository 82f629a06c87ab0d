"""The control API's calls, version 1: what a running node does for the commands and for other programs.

GET    /v1/node                     pid, version, api
GET    /v1/status                   node, snapshots, fetches, limits: as `status --json` and more
GET    /v1/network                  where it listens and how the world reaches it
GET    /v1/snapshots                as `list --json`
POST   /v1/snapshots/pause          {"target"}; likewise resume, remove, pin, unpin
POST   /v1/snapshots/priority       {"target", "priority"}
GET    /v1/fetches                  every fetch of this node
POST   /v1/fetches                  a FetchRequest; answers {"id", …}; the same target twice is one fetch
GET    /v1/fetches/{id}/events      its events, one JSON object a line, until it ends
DELETE /v1/fetches/{id}             stop it for good; what came stays
GET    /v1/limits   PUT /v1/limits  upload, download, monthly_upload, hours
POST   /v1/scrub                    look for bit rot that is due, now
GET    /metrics                     Prometheus
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from p2pqwen import __version__
from p2pqwen.errors import UsageError
from p2pqwen.library.snapshots import Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.hub_watch import last_round, watch_fields
from p2pqwen.operations.archive.upstream import with_upstream
from p2pqwen.operations.background import STOP_SECONDS
from p2pqwen.operations.control.inventory import inventory, inventory_fields
from p2pqwen.operations.control.snapshots import SnapshotCalls, stream_of
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.jobs import FetchJob, FetchJobs
from p2pqwen.operations.node.supervisor import Supervisor
from p2pqwen.server import problem
from p2pqwen.values.snapshot_id import SnapshotId

API = 1
Fields = dict[str, Any]


@dataclass(slots=True)
class JobsBySnapshot:
    """The jobs as `SnapshotCalls` sees them."""

    jobs: FetchJobs

    def snapshots(self) -> list[SnapshotId]:
        """Return the snapshots being fetched."""
        return [job.snapshot for job in self.jobs.all() if job.snapshot is not None and not job.state.ended]

    def end(self, snapshot: SnapshotId) -> None:
        """End the fetch of a snapshot."""
        for job in self.jobs.of(snapshot):
            self.jobs.stop(job)
            self.jobs.wait_for(job, STOP_SECONDS)


def node_calls(
    supervisor: Supervisor, library: Library, store: StateStore, *, watch_every: timedelta | None
) -> Mapping[str, Callable[[Fields], Fields | Iterator[Fields]]]:
    """Return every call by method and path."""
    snapshots = SnapshotCalls(
        library,
        supervisor.choices,
        changed=supervisor.choices_changed,
        remove_held=supervisor.remove,
        fetching=JobsBySnapshot(supervisor.jobs),
    )
    calls = _Calls(supervisor, snapshots, store, watch_every)
    return {
        "GET /v1/node": lambda _: {"pid": os.getpid(), "version": __version__, "api": API},
        "GET /v1/status": calls.status,
        "GET /v1/network": calls.network,
        "GET /v1/snapshots": lambda _: {
            "snapshots": calls.with_upstream(inventory_fields(inventory(library, supervisor.watch.standings)))
        },
        "POST /v1/snapshots/pause": snapshots.pause,
        "POST /v1/snapshots/resume": snapshots.resume,
        "POST /v1/snapshots/remove": snapshots.remove,
        "POST /v1/snapshots/pin": snapshots.pin,
        "POST /v1/snapshots/unpin": snapshots.unpin,
        "POST /v1/snapshots/priority": snapshots.prioritise,
        "GET /v1/fetches": lambda _: {"fetches": [job.to_json() for job in supervisor.jobs.all()]},
        "POST /v1/fetches": lambda given: supervisor.submit(FetchRequest.from_json(given)).to_json(),
        "GET /v1/fetches/{id}/events": calls.follow,
        "DELETE /v1/fetches/{id}": calls.stop,
        "GET /v1/limits": lambda _: calls.limits({}),
        "PUT /v1/limits": calls.limits,
        "POST /v1/scrub": calls.scrub,
    }


@dataclass(slots=True)
class _Calls:
    supervisor: Supervisor
    snapshots: SnapshotCalls
    store: StateStore
    watch_every: timedelta | None

    def with_upstream(self, rows: list[Fields]) -> list[Fields]:
        """Return rows of snapshots with what is known of each on the Hub."""
        return with_upstream(rows, UpstreamStore(self.store).all())

    def status(self, _given: Fields) -> Fields:
        """Return the node as it is at this moment."""
        rows = self.supervisor.on_node(self.supervisor.look)
        return {
            "node": {"pid": os.getpid(), "listen": self.supervisor.listening},
            "snapshots": self.with_upstream([row.to_json() for row in rows]),
            "watch": watch_fields(last_round(self.store), self.watch_every, node_runs=True),
            "fetches": [job.to_json() for job in self.supervisor.jobs.all() if not job.state.ended],
            "limits": self.limits({}),
        }

    def limits(self, given: Fields) -> Fields:
        """Change limits where any is given, and return them with what this month has used of them until now."""
        self.supervisor.count_now()
        return self.snapshots.limits(given)

    def network(self, _given: Fields) -> Fields:
        """Return how the world reaches the node."""
        figures = self.supervisor.figures
        return {
            "listen": self.supervisor.listening,
            "started": round(figures.started),
            **self.supervisor.reach.to_json(),
        }

    def follow(self, given: Fields) -> Iterator[Fields]:
        """Return the events of fetch `id` as they come."""
        return stream_of(self.supervisor.jobs.follow(self._job(given)), problem.to_json)

    def stop(self, given: Fields) -> Fields:
        """Stop fetch `id`."""
        job = self._job(given)
        self.supervisor.jobs.stop(job)
        self.supervisor.jobs.wait_for(job, STOP_SECONDS)
        return job.to_json()

    def scrub(self, _given: Fields) -> Fields:
        """Look for snapshots that are due."""
        self.supervisor.scrub_soon()
        return {"due": [str(held.id) for held in self.supervisor.scrubber.due()]}

    def _job(self, given: Fields) -> FetchJob:
        try:
            return self.supervisor.jobs.get(int(given["id"]))
        except ValueError as error:
            raise UsageError("not the number of a fetch", got=str(given["id"])[:40]) from error
