"""Fetches that a node carries out: queued, run a few at once, stopped and resumed, remembered across restarts.

Each runs on its own thread with its own session. A job that is being followed (`follow`) ends with its first failure,
as a fetch without a node would. Any other job is tried again, at growing intervals, until it succeeds or is stopped.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import attrgetter

from p2pqwen.errors import DiskError, Interruption, NetworkError, NotFoundError, P2pqwenError, UsageError
from p2pqwen.events import Event, Happened, Notice, Progress, Report
from p2pqwen.library.durable import LockHeldError
from p2pqwen.library.folders import AwayError
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import Ended, JobAnswer, JobLine, JobState, StillHere
from p2pqwen.operations.node.preferences import Choice, Transfer
from p2pqwen.operations.node.transfer_meter import TransferMeter
from p2pqwen.server.problem import Problem, Refusal
from p2pqwen.values.snapshot_id import SnapshotId

MAX_RUNNING = 3
"""More would only share the same line and make the disk seek."""
MAX_JOBS = 10_000
KEPT_ENDED = 100
RETRY_FIRST, RETRY_LONGEST = 30.0, 3600.0  # seconds
_HEARTBEAT = 1.0
_EVENTS_KEPT = 200

RunFetch = Callable[[FetchRequest, Report, Callable[[SnapshotId], None]], FetchAnswer]
"""Carries out a request."""


class JobStoppedError(Interruption):
    """Raised inside a fetch by its report, to stop it at a point from which it can resume."""


@dataclass(slots=True)
class FetchJob:
    """One fetch. `progress` is the latest of its download stage; `serial` counts all events seen."""

    id: int
    request: FetchRequest
    state: JobState = JobState.QUEUED
    snapshot: SnapshotId | None = None
    progress: Progress | None = None
    result: FetchAnswer | None = None
    error: P2pqwenError | None = None
    followers: int = 0
    stopping: bool = False
    final: bool = False  # stopped for good, not to be resumed
    tries: int = 0
    not_before: float = 0.0
    meter: TransferMeter = field(default_factory=TransferMeter)
    serial: int = 0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    thread: threading.Thread | None = None

    @property
    def is_away(self) -> bool:
        """Whether it waits for a disk to come back."""
        return self.state is JobState.WAITING and isinstance(self.error, AwayError)

    @property
    def answer(self) -> JobAnswer:
        """The job as the control API shows it."""
        shown = self.progress
        return JobAnswer(
            id=self.id,
            target=self.request.target,
            kind="repair" if self.request.kind == "repair" else "fetch",
            state=self.state,
            repo=None if self.snapshot is None else self.snapshot.repo,
            commit=None if self.snapshot is None else self.snapshot.commit,
            done=0 if shown is None else shown.done,
            total=None if shown is None else shown.total,
            error=None if self.error is None else self.error.message,
            problem=None if self.error is None else Problem.of(self.error),
        )


class FetchJobs:
    """The jobs of one node. Its methods may be called from any thread; `tick` starts what may start."""

    def __init__(
        self,
        run: RunFetch,
        store: StateStore,
        report: Report,
        *,
        chosen: Callable[[SnapshotId | None], Choice] = lambda _: Choice(),
        fetched: Callable[[FetchRequest, SnapshotId], None] = lambda *_: None,
        repaired: Callable[[SnapshotId], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._store, self._report = run, store, report
        self._chosen, self._fetched, self._repaired, self._clock = chosen, fetched, repaired, clock
        self._news = threading.Condition()
        self._jobs: dict[int, FetchJob] = {}
        self._numbers = itertools.count(1)
        self._held_back = ""
        self._closing = False
        self.ended = 0  # how many jobs ever ended
        self._restore()

    def submit(self, request: FetchRequest) -> FetchJob:
        """Add a fetch, or return the same fetch if it is under way already; raises `UsageError`.

        A fetch that the node began by itself becomes the user's if they request it too.
        """
        with self._news:
            for job in self._jobs.values():
                if not job.state.ended and _is_same(job.request, request):
                    if (job.request.kind, request.kind) == ("adopt", "fetch"):
                        job.request = replace(job.request, kind="fetch")
                        self._store.put(f"job/{job.id}", job.request.to_json())
                    job.not_before = 0.0
                    if job.state is JobState.WAITING:
                        job.state = JobState.QUEUED
                    return job
            if sum(not job.state.ended for job in self._jobs.values()) >= MAX_JOBS:
                raise UsageError(f"{MAX_JOBS} fetches are waiting already")
            job = FetchJob(next(self._numbers), request)
            self._jobs[job.id] = job
            self._store.put(f"job/{job.id}", request.to_json())
            self._news.notify_all()
        return job

    def all(self) -> list[FetchJob]:
        """Return the jobs, including those that ended lately."""
        with self._news:
            return list(self._jobs.values())

    def get(self, number: int) -> FetchJob:
        """Return a job; raises `NotFoundError`."""
        with self._news:
            if number not in self._jobs:
                raise NotFoundError(f"no fetch {number} in this node")
            return self._jobs[number]

    def of(self, snapshot: SnapshotId) -> list[FetchJob]:
        """Return the jobs of a snapshot that have not ended."""
        return [job for job in self.all() if job.snapshot == snapshot and not job.state.ended]

    def hold_back(self, reason: str) -> None:
        """Stop all jobs and start none while there is a reason; an empty reason lets them go on."""
        with self._news:
            self._held_back = reason
            for job in self._jobs.values():
                if reason and job.thread is not None:
                    job.stopping = True
            self._news.notify_all()

    def restart_running(self) -> None:
        """Stop the running jobs and let them go on at once, with new rates."""
        with self._news:
            for job in self._jobs.values():
                if job.thread is not None:
                    job.stopping = True

    def disk_is_back(self) -> None:
        """Let jobs that wait for a disk go on at once; those that need another disk wait again."""
        with self._news:
            for job in self._jobs.values():
                if job.is_away:
                    job.not_before = 0.0

    def try_again(self, after: type[P2pqwenError]) -> None:
        """Let jobs that wait after such an error go on at once: its cause may be gone."""
        with self._news:
            for job in self._jobs.values():
                if job.state is JobState.WAITING and isinstance(job.error, after):
                    job.not_before = 0.0

    def stop(self, job: FetchJob) -> None:
        """End a job for good; what it fetched stays for the next one."""
        with self._news:
            job.stopping = job.final = True
            if job.thread is None and not job.state.ended:
                self._end(job, JobState.STOPPED)

    def wait_for(self, job: FetchJob, seconds: float) -> bool:
        """Wait up to `seconds` for a job's thread to end; tell whether it has."""
        thread = job.thread
        if thread is not None:
            thread.join(seconds)
        return job.thread is None

    def tick(self) -> None:
        """Start the jobs that may run, stop those that are paused."""
        with self._news:
            for job in self._jobs.values():
                if job.thread is not None and self._chosen(job.snapshot).paused:
                    job.stopping = True
            running = sum(job.thread is not None for job in self._jobs.values())
            for job in sorted(self._jobs.values(), key=lambda job: (self._chosen(job.snapshot).priority.order, job.id)):
                if job.state.ended or job.thread is not None or self._closing or self._held_back:
                    continue
                if self._chosen(job.snapshot).paused:
                    if job.state is not JobState.PAUSED:
                        job.state = JobState.PAUSED
                        self._news.notify_all()
                elif running < MAX_RUNNING and self._clock() >= job.not_before:
                    running += 1
                    self._start(job)
                elif job.state is JobState.PAUSED:
                    job.state = JobState.QUEUED

    def follow(self, job: FetchJob) -> Iterator[JobLine]:
        """Yield what happens to a job until it ends; the last line holds its result or its error."""
        with self._news:
            job.followers += 1
        seen, told, first = 0, "", True
        try:
            while True:
                with self._news:
                    if job.serial == seen and not job.state.ended and not first:
                        self._news.wait(_HEARTBEAT)
                    first = False
                    fresh = list(job.events)[-(job.serial - seen) :] if job.serial > seen else []
                    seen, ended, why = job.serial, job.state.ended or job.is_away, self._held_back
                    if job.state is JobState.PAUSED:
                        why = f"it is paused; `p2pqwen resume {job.snapshot}` resumes it"
                for event in fresh:
                    yield JobLine.of(event)
                if ended:
                    break
                if why and why != told:
                    told = why
                    yield JobLine.of(Notice("info", f"waiting: {why}"))
                yield JobLine(StillHere())  # tells whether the reader is still there
            if job.error is not None:
                yield JobLine(Refusal(Problem.of(job.error)))
            else:
                yield JobLine(Ended(job.result, job.state))
        finally:
            with self._news:
                job.followers -= 1

    def close(self, seconds: float) -> None:
        """Stop all jobs; the next node resumes those that had not ended."""
        with self._news:
            self._closing = True
            for job in self._jobs.values():
                job.stopping = True
            threads = [job.thread for job in self._jobs.values() if job.thread is not None]
            self._news.notify_all()
        deadline = self._clock() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock()))

    def take_counts(self) -> dict[SnapshotId, Transfer]:
        """Return the payload moved by each snapshot's fetches since the last call."""
        moved: dict[SnapshotId, Transfer] = {}
        with self._news:
            for job in self._jobs.values():
                if job.snapshot is not None and (more := job.meter.take()) != Transfer():
                    moved[job.snapshot] = moved.get(job.snapshot, Transfer()).plus(more.uploaded, more.downloaded)
        return moved

    def _start(self, job: FetchJob) -> None:
        job.state, job.stopping, job.error = JobState.DOWNLOADING, False, None
        job.tries += 1
        job.meter.begin()
        job.thread = threading.Thread(target=self._work, args=(job,), name=f"fetch {job.id}", daemon=True)
        job.thread.start()

    def _work(self, job: FetchJob) -> None:
        try:
            job.result = self._run(job.request, lambda event: self._take(job, event), lambda one: self._named(job, one))
            if job.request.kind == "repair" and job.snapshot is not None:
                self._repaired(job.snapshot)
            with self._news:  # until it has ended, a user may request it too
                self._fetched(job.request, job.result.snapshot)
                job.meter.end(job.result.bytes_fetched)
                self._end(job, JobState.DONE)
        except JobStoppedError:
            self._after_stop(job)
        except P2pqwenError as error:
            self._failed(job, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the node
            self._failed(job, P2pqwenError(f"the fetch broke: {type(error).__name__}", got=str(error)))

    def _take(self, job: FetchJob, event: Event) -> None:
        with self._news:
            job.meter.see(event)
        if job.stopping:
            raise JobStoppedError
        with self._news:
            if isinstance(event, Progress):
                job.progress = event
            job.events.append(event)
            job.serial += 1
            self._news.notify_all()

    def _named(self, job: FetchJob, snapshot: SnapshotId) -> None:
        job.snapshot = snapshot

    def _after_stop(self, job: FetchJob) -> None:
        with self._news:
            if job.final and not self._closing:
                self._end(job, JobState.STOPPED)
            else:
                job.state, job.thread = JobState.QUEUED, None
            self._news.notify_all()

    def _failed(self, job: FetchJob, error: P2pqwenError) -> None:
        with self._news:
            job.error = error
            passing = isinstance(error, NetworkError | DiskError | LockHeldError)
            pulled = isinstance(error, AwayError) and job.progress is not None  # in the middle of the fetch
            if not passing or (job.followers and not pulled):
                self._end(job, JobState.FAILED)
                return
            pause = min(RETRY_LONGEST, RETRY_FIRST * 2 ** min(job.tries - 1, 10))
            job.state, job.thread, job.not_before = JobState.WAITING, None, self._clock() + pause
            self._news.notify_all()
        self._report(Notice("info", f"fetch of {job.request.target}: {error.message}; again in {pause:.0f} s"))

    def _end(self, job: FetchJob, state: JobState) -> None:
        job.state, job.thread = state, None
        self.ended += 1
        self._store.delete(f"job/{job.id}")
        ended = [one.id for one in self._jobs.values() if one.state.ended and not one.followers]
        for number in ended[:-KEPT_ENDED]:
            del self._jobs[number]
        self._news.notify_all()
        facts: dict[str, str | int | float | bool | None] = {"id": job.id, "target": job.request.target}
        if job.error is not None:
            facts["error"] = job.error.message
        self._report(Happened(f"fetch {state}", facts))

    def _restore(self) -> None:
        for number, value in self._store.items("job/").items():
            try:
                job = FetchJob(int(number), FetchRequest.from_json(value))
            except (P2pqwenError, ValueError):
                self._store.delete(f"job/{number}")
                continue
            self._jobs[job.id] = job
        self._numbers = itertools.count(max(self._jobs, default=0) + 1)


def _is_same(one: FetchRequest, other: FetchRequest) -> bool:
    """Tell whether two requests are one fetch: the same files, into the same place, from the same sources.

    Requests that differ in `trust_unverified` are not one fetch. Named peers, named web seeds and the timeout may
    differ; those of the first request count.
    """
    same = attrgetter(
        "target",
        "include",
        "trust_unverified",
        "hub_cache",
        "insist_on_cache",
        "move_ref",
        "choices",
        "use_web_seeds",
        "use_peers",
    )
    return (one.kind == "repair") == (other.kind == "repair") and bool(same(one) == same(other))
