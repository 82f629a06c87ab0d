"""The jobs of a node: which run, in what order, how they stop, when they are tried again, what is remembered."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from p2pqwen.errors import NetworkError, NotFoundError, P2pqwenError, UsageError, VerificationError
from p2pqwen.events import Happened, Notice, Progress
from p2pqwen.library.folders import AwayError
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node import jobs as fetch_jobs
from p2pqwen.operations.node.job_answer import Ended, JobLine, JobState, ProgressLine, ProgressShown, StillHere
from p2pqwen.operations.node.jobs import KEPT_ENDED, MAX_RUNNING, RETRY_FIRST, RETRY_LONGEST, FetchJobs
from p2pqwen.operations.node.limits import Priority
from p2pqwen.operations.node.preferences import Choice
from p2pqwen.server.problem import Problem, Refusal
from p2pqwen.values.json_value import from_json, object_json
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.snapshot_id import SnapshotId
from tests.support.answers import fetch_answer
from tests.support.waiting import wait_until

SECONDS = 30.0


def identity(number: int) -> SnapshotId:
    return SnapshotId.parse(f"Qwen/Tiny@{number:040x}")


def request(number: int, **options) -> FetchRequest:
    return FetchRequest(str(identity(number)), **options)


class Fetches:
    """What carries requests out: each waits until the test lets it end, in a way the test chooses."""

    def __init__(self):
        self.started: list[str] = []
        self._doors: dict[str, threading.Event] = {}
        self._outcomes: dict[str, list] = {}
        self.reports = {}

    def ends(self, number, *outcomes):
        """How its next tries end: with a result, or an error; the last one for good. None: it waits for `let_go`."""
        self._outcomes[str(identity(number))] = list(outcomes)

    def door(self, number) -> threading.Event:
        return self._doors.setdefault(str(identity(number)), threading.Event())

    def __call__(self, wanted, report, on_plan):
        self.started.append(wanted.target)
        on_plan(SnapshotId.parse(wanted.target))
        self.reports[wanted.target] = report
        outcomes = self._outcomes.get(wanted.target, [None])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if outcome is None:
            door = self._doors.setdefault(wanted.target, threading.Event())
            while not door.wait(0.002):
                report(Progress("download", 1, 10))  # where a stopped job ends
            return fetch_answer(SnapshotId.parse(wanted.target))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Node:
    def __init__(self, store):
        self.store, self.now, self.events = store, 0.0, []
        self.fetches = Fetches()
        self.choices = {}
        self.repaired, self.fetched = [], []
        self.jobs = self.restarted()

    def restarted(self):
        return FetchJobs(
            self.fetches,
            self.store,
            self.events.append,
            chosen=lambda one: self.choices.get(one, Choice()),
            fetched=lambda *one: self.fetched.append(one),
            repaired=self.repaired.append,
            clock=lambda: self.now,
        )

    def submit(self, *numbers, **options):
        return [self.jobs.submit(request(number, **options)) for number in numbers]

    def tick(self):
        self.jobs.tick()

    def until(self, job, *states):
        """Wait until its thread has brought a job there, taking turns as a node does."""

        def there():
            return job.state in states and (job.thread is None or job.state is JobState.DOWNLOADING)

        wait_until(there, SECONDS, f"{states} for job {job.id}, which is {job.state}")
        self.jobs.all()  # it takes the lock: whatever belongs to that change has been said

    def ended(self):
        return [event.event for event in self.events if isinstance(event, Happened)]


@pytest.fixture
def node(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        made = Node(store)
        yield made
        made.jobs.close(SECONDS)


def states(jobs):
    return [job.state.value for job in jobs]


def test_a_few_run_at_once_and_the_next_begins_when_one_ends(node):
    jobs = node.submit(*range(MAX_RUNNING + 2))
    node.tick()
    assert states(jobs) == ["downloading"] * MAX_RUNNING + ["queued"] * 2
    node.fetches.door(1).set()
    node.until(jobs[1], JobState.DONE)
    node.tick()
    assert states(jobs) == ["downloading", "done", "downloading", "downloading", "queued"]
    assert jobs[1].result == fetch_answer(jobs[1].snapshot)
    assert node.ended() == ["fetch done"]


def test_who_has_priority_is_first(node):
    order = {2: Priority.HIGH, 0: Priority.LOW, 3: Priority.LOW}
    jobs = node.submit(*range(5))
    for job in jobs:
        job.snapshot = SnapshotId.parse(job.request.target)
    node.choices = {identity(number): Choice(priority=priority) for number, priority in order.items()}
    node.tick()
    assert states(jobs) == ["queued", "downloading", "downloading", "queued", "downloading"]


def test_the_same_target_is_one_job_and_a_repair_of_it_another(node):
    (first,), (again,) = node.submit(1), node.submit(1)
    (repair,) = node.submit(1, kind="repair")
    assert (again is first, repair is first) == (True, False)
    node.fetches.ends(1, fetch_answer(identity(1)))
    node.tick()
    node.until(first, JobState.DONE)
    (new,) = node.submit(1)
    assert new.id != first.id  # the first has ended


@pytest.mark.parametrize(
    "other",
    [
        {"include": ("a",)},
        {"hub_cache": "/elsewhere"},
        {"choices": NetworkChoices(dht=False)},
        {"use_web_seeds": "never"},
    ],
    ids=str,
)
def test_who_wants_it_otherwise_gets_a_fetch_of_their_own(node, other):
    (first,), (another,) = node.submit(1), node.submit(1, **other)
    assert another.id != first.id


def test_a_repair_that_ended_well_is_told(node):
    node.fetches.ends(1, fetch_answer(identity(1)))
    (job,) = node.submit(1, kind="repair")
    node.tick()
    node.until(job, JobState.DONE)
    assert node.repaired == [identity(1)]


@pytest.mark.parametrize(
    ("asked", "whose"),
    [
        (("adopt",), "adopt"),
        (("fetch",), "fetch"),
        (("adopt", "fetch"), "fetch"),
        (("fetch", "adopt"), "fetch"),
        (("adopt", "adopt"), "adopt"),
    ],
)
def test_a_fetch_that_a_person_asks_for_too_is_theirs(node, asked, whose):
    jobs = [node.submit(1, kind=kind)[0] for kind in asked]
    assert len({job.id for job in jobs}) == 1
    again = node.restarted()
    assert [one.request.kind for one in again.all()] == [whose]  # it is remembered
    node.fetches.ends(1, fetch_answer(identity(1)))
    node.tick()
    node.until(jobs[0], JobState.DONE)
    assert [(request.kind, snapshot) for request, snapshot in node.fetched] == [(whose, identity(1))]


def test_a_person_may_ask_for_what_the_archive_fetches_already(node):
    (job,) = node.submit(1, kind="adopt")
    node.tick()
    assert node.submit(1) == [job]
    node.fetches.door(1).set()
    node.until(job, JobState.DONE)
    assert [request.kind for request, _ in node.fetched] == ["fetch"]


def test_more_than_enough_is_refused(node, monkeypatch):
    monkeypatch.setattr(fetch_jobs, "MAX_JOBS", 3)
    node.submit(1, 2, 3)
    with pytest.raises(UsageError, match="3 fetches are waiting already"):
        node.submit(4)
    assert len(node.submit(3)) == 1  # which is there already


@pytest.mark.parametrize("running", [True, False])
def test_one_that_is_stopped_ends_and_is_not_gone_on_with(node, running):
    (job,) = node.submit(1)
    if running:
        node.tick()
    node.jobs.stop(job)
    node.until(job, JobState.STOPPED)
    assert node.jobs.wait_for(job, SECONDS)
    assert node.ended() == ["fetch stopped"]
    assert node.restarted().all() == []


def test_closing_stops_all_and_the_next_node_goes_on_with_them(node):
    running, waiting = node.submit(1, 2)
    node.tick()
    ended = node.jobs.submit(request(3))
    node.fetches.ends(3, fetch_answer(identity(3)))
    node.tick()
    node.until(ended, JobState.DONE)
    node.jobs.close(SECONDS)
    assert (running.thread, running.state) == (None, JobState.QUEUED)
    node.tick()
    assert (running.thread, waiting.thread) == (None, None)  # nothing begins any more
    again = node.restarted()
    assert [job.request.target for job in again.all()] == [str(identity(1)), str(identity(2))]
    assert again.submit(request(9)).id > waiting.id


def test_a_stored_request_that_makes_no_sense_is_dropped(node):
    node.submit(1)
    node.store.put("job/77", {"colour": "red"})
    node.store.put("job/x", request(2).to_json())
    assert [job.request.target for job in node.restarted().all()] == [str(identity(1))]
    assert list(node.store.items("job/")) == ["1"]


@pytest.mark.parametrize(
    "error", [NetworkError("nothing arrived"), AwayError(identity(1), "/mnt/disk")], ids=["network", "disk"]
)
def test_what_may_pass_is_tried_again_ever_more_rarely(node, error):
    node.fetches.ends(1, error)
    (job,) = node.submit(1)
    pauses = []
    for _ in range(10):
        node.tick()
        node.until(job, JobState.WAITING)
        pauses.append(round(job.not_before - node.now))
        node.now = job.not_before - 0.1
        node.tick()
        assert job.state is JobState.WAITING
        node.now += 0.2
    assert pauses[0] == RETRY_FIRST
    assert all(later in {2 * earlier, RETRY_LONGEST} for earlier, later in itertools.pairwise(pauses))
    assert pauses[-1] == RETRY_LONGEST
    assert isinstance(node.events[0], Notice)
    assert node.events[0].text.endswith("again in 30 s")


def test_asking_once_more_ends_the_pause(node):
    node.fetches.ends(1, NetworkError("nothing arrived"), fetch_answer(identity(1)))
    (job,) = node.submit(1)
    node.tick()
    node.until(job, JobState.WAITING)
    assert node.submit(1) == [job]
    node.tick()
    node.until(job, JobState.DONE)
    assert job.error is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (VerificationError("the SHA-256 does not match what was signed"), "the SHA-256 does not match what was signed"),
        (NotFoundError("no such model"), "no such model"),
        (ZeroDivisionError("division by zero"), "the fetch failed unexpectedly: ZeroDivisionError"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(node, error, message):
    node.fetches.ends(1, error)
    (job,) = node.submit(1)
    node.tick()
    node.until(job, JobState.FAILED)
    assert job.error.message.startswith(message)
    assert node.ended() == ["fetch failed"]
    assert node.restarted().all() == []


def test_who_waits_for_a_fetch_is_told_of_its_first_failure(node):
    node.fetches.ends(1, NetworkError("nothing arrived"))
    (job,) = node.submit(1)
    lines = node.jobs.follow(job)
    assert next(lines) == JobLine(StillHere())  # a heartbeat: it is not followed before the first line
    node.tick()
    *_, last = lines
    assert last == JobLine(Refusal(Problem("NetworkError", "nothing arrived")))
    assert job.state is JobState.FAILED
    assert job.followers == 0


def test_who_follows_sees_what_happens_to_the_end(node):
    (job,) = node.submit(1)
    node.tick()
    lines = node.jobs.follow(job)
    first = next(line for line in lines if line.event)
    node.fetches.door(1).set()
    *_, last = lines
    assert first == JobLine(ProgressLine(ProgressShown("download", 1, 10, "", "bytes")))
    assert last == JobLine(Ended(fetch_answer(job.snapshot), JobState.DONE))


def test_who_follows_is_told_once_why_nothing_happens(node):
    node.jobs.hold_back("outside 23:00-07:00")
    (job,) = node.submit(1)
    node.tick()
    assert job.state is JobState.QUEUED
    lines = node.jobs.follow(job)
    told = (line.event for line in lines if isinstance(line.event, Notice))
    assert next(told) == Notice("info", "waiting: outside 23:00-07:00")
    node.jobs.hold_back("")
    node.fetches.ends(1, fetch_answer(identity(1)))
    node.tick()
    assert list(told) == []


def test_holding_back_stops_what_runs_and_lets_it_go_on_later(node):
    (job,) = node.submit(1)
    node.tick()
    node.jobs.hold_back("this month's upload is used up")
    node.until(job, JobState.QUEUED)
    node.tick()
    assert job.thread is None
    node.jobs.hold_back("")
    node.tick()
    assert job.state is JobState.DOWNLOADING
    assert node.fetches.started == [str(identity(1))] * 2


def test_new_rates_begin_what_runs_again(node):
    (job,) = node.submit(1)
    node.tick()
    node.jobs.restart_running()
    node.until(job, JobState.QUEUED)
    node.tick()
    assert (job.state, job.tries) == (JobState.DOWNLOADING, 2)


def test_a_paused_one_stops_and_goes_on_when_it_may(node):
    (job,) = node.submit(1)
    node.tick()
    node.choices[identity(1)] = Choice(paused=True)
    node.tick()
    node.until(job, JobState.QUEUED)
    node.tick()
    assert job.state is JobState.PAUSED
    told = next(line.event for line in node.jobs.follow(job) if isinstance(line.event, Notice))
    assert told.text == f"waiting: it is paused; `p2pqwen resume {identity(1)}` resumes it"
    del node.choices[identity(1)]
    node.tick()
    assert job.state is JobState.DOWNLOADING


def test_a_disk_that_is_back_ends_the_pause_of_those_that_wait_for_it(node):
    node.fetches.ends(1, AwayError(identity(1), "/mnt/disk"), fetch_answer(identity(1)))
    node.fetches.ends(2, NetworkError("nothing arrived"), fetch_answer(identity(1)))
    jobs = node.submit(1, 2)
    node.tick()
    for job in jobs:
        node.until(job, JobState.WAITING)
    assert [job.is_away for job in jobs] == [True, False]
    node.jobs.disk_is_back()
    node.tick()
    node.until(jobs[0], JobState.DONE)
    assert jobs[1].state is JobState.WAITING


def test_jobs_of_a_snapshot_are_those_that_have_not_ended(node):
    node.fetches.ends(1, fetch_answer(identity(1)))
    (job,) = node.submit(1)
    assert node.jobs.of(identity(1)) == []  # its snapshot is not known before it runs
    node.tick()
    node.until(job, JobState.DONE)
    (again,) = node.submit(2)
    node.tick()
    wait_until(lambda: again.snapshot, SECONDS, "its snapshot")
    assert (node.jobs.of(identity(1)), node.jobs.of(identity(2))) == ([], [again])
    assert node.jobs.get(again.id) is again
    with pytest.raises(NotFoundError):
        node.jobs.get(999)


def test_only_the_last_of_those_that_ended_are_kept(node):
    for number in range(KEPT_ENDED + 5):
        (job,) = node.submit(number)
        node.jobs.stop(job)
    assert len(node.jobs.all()) == KEPT_ENDED
    assert node.jobs.all()[0].id == 6


def test_what_a_job_shows_is_what_happened(node):
    node.fetches.ends(1, VerificationError("the SHA-256 is wrong", expected="aa", got="bb"))
    (job,) = node.submit(1)
    assert object_json(job.answer) == {
        "id": 1,
        "target": str(identity(1)),
        "kind": "fetch",
        "state": "queued",
        "repo": None,
        "commit": None,
        "done": 0,
        "total": None,
        "error": None,
        "problem": None,
    }
    node.tick()
    node.until(job, JobState.FAILED)
    shown = object_json(job.answer)
    assert (shown["state"], shown["repo"], shown["commit"]) == ("failed", "Qwen/Tiny", f"{1:040x}")
    assert shown["error"].startswith("the SHA-256 is wrong")


@pytest.mark.parametrize(
    "event",
    [
        Progress("download", 5, 10, "2 peers"),
        Notice("warning", "a piece arrived damaged"),
        Happened("seeding", {"size": 5}),
    ],
)
def test_events_go_over_the_wire_and_back(event):
    line = JobLine.of(event)
    sent = json.loads(json.dumps(object_json(line)))
    assert list(sent) == [type(event).__name__.lower()]
    assert from_json(JobLine, sent) == line
    assert from_json(JobLine, sent).event == event
    assert from_json(JobLine, {}).event is None


def test_a_job_whose_error_has_no_text_still_ends(node):
    node.fetches.ends(1, P2pqwenError("stopped"))
    (job,) = node.submit(1)
    node.tick()
    node.until(job, JobState.FAILED)
    assert job.error.message == "stopped"
