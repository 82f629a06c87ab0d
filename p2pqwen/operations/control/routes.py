"""The control API's calls, version 1: what a running node does for the commands and for other programs.

GET    /v1/node                     pid, version, api
GET    /v1/status                   node, snapshots, fetches, limits: as `status --json` and more
GET    /v1/network                  where it listens and whether it is reachable from outside
GET    /v1/snapshots                as `list --json`
POST   /v1/snapshots/pause          {"target"}; likewise resume, remove, pin, unpin
POST   /v1/snapshots/priority       {"target", "priority"}
GET    /v1/fetches                  every fetch of this node
POST   /v1/fetches                  a FetchRequest; answers {"id", …}; the same target twice is one fetch
GET    /v1/fetches/{id}/events      its events, one JSON object a line, until it ends
DELETE /v1/fetches/{id}             stop it for good; downloaded data stays
GET    /v1/limits   PUT /v1/limits  upload, download, monthly_upload, hours
POST   /v1/scrub                    run the scrubs that are due, now
GET    /v1/pictures                 what the dashboard shows, as it changes, one JSON object a line (with --dashboard)
POST   /v1/adopt/plan               {"budget"}: what `adopt --dry-run` would answer now
POST   /v1/adopt                    {"budget", "snapshots"}: fetch these, as fetches of this node
GET    /v1/alerts                   what is wrong, worst first
GET    /metrics                     Prometheus
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from p2pqwen import __version__
from p2pqwen.errors import UsageError
from p2pqwen.library.snapshots import Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.watch_record import WatchAnswer, last_round
from p2pqwen.operations.background import STOP_SECONDS
from p2pqwen.operations.control.inventory import inventory
from p2pqwen.operations.control.inventory_answer import InventoryAnswer
from p2pqwen.operations.control.snapshot_calls import SnapshotCalls
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusRows
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import JobAnswer, JobLine, JobsAnswer
from p2pqwen.operations.node.jobs import FetchJob, FetchJobs
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.preferences import limits_answer
from p2pqwen.operations.node.state import NodeAddress
from p2pqwen.operations.node.supervisor import Supervisor
from p2pqwen.server.control import Call, Given
from p2pqwen.swarm.reach import Reach
from p2pqwen.values.snapshot_id import SnapshotId

API = 1


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """The running program, and the version of its API."""

    pid: int
    version: str
    api: int


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """Where the node listens and how it is reached; `started` in Unix seconds, `dht_nodes` None without the DHT.

    `mapped`: ports that a router opened; `refusal`: why it did not; `external`: our address as others see it.
    """

    listen: str
    started: int
    incoming: bool
    dht_nodes: int | None
    mapped: tuple[int, ...]
    refusal: str | None
    external: str | None

    @classmethod
    def of(cls, listen: str, started: float, reach: Reach) -> NetworkAnswer:
        """Return what is shown of a node."""
        return cls(
            listen,
            round(started),
            reach.incoming,
            reach.dht_nodes,
            reach.mapped,
            reach.refusal or None,
            reach.external or None,
        )

    @property
    def reach(self) -> Reach:
        """How the node is reached from outside."""
        return Reach(self.incoming, self.dht_nodes, self.mapped, self.refusal or "", self.external or "")


@dataclass(frozen=True, slots=True)
class DueAnswer:
    """The snapshots that are scrubbed now."""

    due: tuple[str, ...]


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
) -> Mapping[str, Call]:
    """Return every call by method and path."""
    calls = _Calls.of(supervisor, library, store, watch_every)
    snapshots = calls.snapshots
    return {
        "GET /v1/node": lambda _: NodeAnswer(os.getpid(), __version__, API),
        "GET /v1/status": calls.status,
        "GET /v1/network": calls.network,
        "GET /v1/snapshots": lambda _: InventoryAnswer.of(
            inventory(library, supervisor.watch.standings), UpstreamStore(store).all()
        ),
        "POST /v1/snapshots/pause": snapshots.pause,
        "POST /v1/snapshots/resume": snapshots.resume,
        "POST /v1/snapshots/remove": snapshots.remove,
        "POST /v1/snapshots/pin": snapshots.pin,
        "POST /v1/snapshots/unpin": snapshots.unpin,
        "POST /v1/snapshots/priority": snapshots.prioritise,
        "GET /v1/fetches": lambda _: JobsAnswer(tuple(job.answer for job in supervisor.jobs.all())),
        "POST /v1/fetches": lambda given: supervisor.submit(FetchRequest.from_json(given)).answer,
        "GET /v1/fetches/{id}/events": calls.follow,
        "DELETE /v1/fetches/{id}": calls.stop,
        "GET /v1/limits": lambda _: calls.limits({}),
        "PUT /v1/limits": calls.limits,
        "POST /v1/scrub": calls.scrub,
    }


@dataclass(frozen=True, slots=True)
class Looks:
    """Functions that return a node's state, for those that show it."""

    status: Callable[[], NodeStatusAnswer]
    network: Callable[[], NetworkAnswer]

    @classmethod
    def of(cls, supervisor: Supervisor, library: Library, store: StateStore, *, watch_every: timedelta | None) -> Looks:
        """Return the functions for a node; call them from any thread but its own."""
        calls = _Calls.of(supervisor, library, store, watch_every)
        return cls(partial(calls.status, {}), partial(calls.network, {}))


@dataclass(slots=True)
class _Calls:
    supervisor: Supervisor
    snapshots: SnapshotCalls
    store: StateStore
    watch_every: timedelta | None
    _upstream: UpstreamStore = field(init=False)
    _rows: StatusRows = field(default_factory=StatusRows)

    def __post_init__(self) -> None:
        self._upstream = UpstreamStore(self.store)

    @classmethod
    def of(cls, supervisor: Supervisor, library: Library, store: StateStore, watch_every: timedelta | None) -> _Calls:
        snapshots = SnapshotCalls(
            library,
            supervisor.choices,
            changed=supervisor.choices_changed,
            remove_held=supervisor.remove,
            fetching=JobsBySnapshot(supervisor.jobs),
        )
        return cls(supervisor, snapshots, store, watch_every)

    def status(self, _given: Given) -> NodeStatusAnswer:
        """Return the node's current state."""
        rows, month = self.supervisor.look_now()
        return NodeStatusAnswer(
            NodeAddress(os.getpid(), self.supervisor.listening),
            self._rows.all(rows, self._upstream.all()),
            WatchAnswer.of(last_round(self.store), self.watch_every, node_runs=True),
            tuple(job.answer for job in self.supervisor.jobs.all() if not job.state.ended),
            limits_answer(self.snapshots.choices.limits(), month, datetime.now().astimezone()),
        )

    def limits(self, given: Given) -> LimitsAnswer:
        """Change the limits that are given, and return all of them with this month's use."""
        self.supervisor.count_now()
        return self.snapshots.limits(given)

    def network(self, _given: Given) -> NetworkAnswer:
        """Return how the node is reached from outside."""
        return NetworkAnswer.of(self.supervisor.listening, self.supervisor.figures.started, self.supervisor.reach)

    def follow(self, given: Given) -> Iterator[JobLine]:
        """Yield the events of fetch `id` as they happen."""
        return self.supervisor.jobs.follow(self._job(given))

    def stop(self, given: Given) -> JobAnswer:
        """Stop fetch `id`."""
        job = self._job(given)
        self.supervisor.jobs.stop(job)
        self.supervisor.jobs.wait_for(job, STOP_SECONDS)
        return job.answer

    def scrub(self, _given: Given) -> DueAnswer:
        """Start the scrubs that are due."""
        self.supervisor.scrub_soon()
        return DueAnswer(tuple(str(held.id) for held in self.supervisor.scrubber.due()))

    def _job(self, given: Given) -> FetchJob:
        try:
            return self.supervisor.jobs.get(int(str(given["id"])))
        except ValueError as error:
            raise UsageError("not the number of a fetch", got=str(given["id"])[:40]) from error
