"""What keeps a node in order: choices and limits by the clock, quota, scrubbing, repair, counting, other threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError, FailingDiskError, NetworkError
from p2pqwen.events import Happened, Notice, Progress
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.folders import AwayError
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.library.verified import Verified, VerifiedFiles
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.indexes.rise import Riser
from p2pqwen.operations.indexes.vouchers import Vouchers
from p2pqwen.operations.node.jobs import FetchJobs, JobState
from p2pqwen.operations.node.limits import Hours, Limits, Priority
from p2pqwen.operations.node.preferences import Choice, Choices, Transfer
from p2pqwen.operations.node.standing_watch import StandingWatch
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.operations.node.supervisor import CHOICES_EVERY, COUNT_EVERY, DISKS_EVERY, MEND_EVERY, Supervisor
from p2pqwen.operations.verify.read_facts import read_facts
from p2pqwen.operations.verify.scrub import Scrubber
from p2pqwen.operations.verify.scrub_record import ScrubRecord
from p2pqwen.operations.verify.standings import Standings
from p2pqwen.swarm.reach import Reach
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.answers import fetch_answer
from tests.support.engine import VirtualClock
from tests.support.models import noise
from tests.support.swarm import REPO, make_snapshot
from tests.support.waiting import wait_until

SECONDS = 30.0
START = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


def identity(number: int) -> SnapshotId:
    return SnapshotId(RepoId(REPO), CommitId.parse(f"{number:040x}"))


class Seeding:
    """The node, as the supervisor sees it; it keeps what it was told."""

    uploaded_besides, loading, listening, reach = 0, False, "127.0.0.1:1", Reach()

    def __init__(self):
        self.rates, self.holds, self.held, self.read, self.gone = [], [], {}, [], []
        self.wakes = self.looks = self.announced = 0
        self.shown: list[SnapshotState] = []

    def set_rates(self, *, upload, download):
        self.rates.append((upload, download))

    def hold(self, snapshot, *, paused, upload_slots):
        self.held[snapshot] = (paused, upload_slots)

    def hold_all(self, *, paused):
        self.holds.append(paused)

    def read_again(self, snapshot):
        self.read.append(snapshot)

    def let_go(self, snapshot):
        self.gone.append(snapshot)

    def library_changed(self):
        self.looks += 1

    def announce_again(self):
        self.announced += 1

    def wake(self):
        self.wakes += 1

    def rows(self):
        return list(self.shown)


class World:
    """A supervisor over a home, with a clock of the test's; fetches stand still until they are stopped."""

    def __init__(self, folder, store, *, upload=0, download=0):
        self.clock = VirtualClock()
        self.home = Home(folder)
        self.library = Library(self.home)
        self.verified = VerifiedFiles(self.home)
        self.choices = Choices(store)
        self.events, self.requests = [], []
        self.fetch = self.stand_still
        self.node = Seeding()
        self.scrubber = Scrubber(self.library, self.verified, store, WEEK, self.events.append, self.now)
        self.jobs = FetchJobs(
            lambda *given: self.fetch(*given),  # noqa: PLW0108 - tests change it
            store,
            self.events.append,
            chosen=lambda one: self.supervisor.choice_of(one),  # noqa: PLW0108 - the two know each other
            repaired=lambda one: self.supervisor.mended(one),  # noqa: PLW0108
            clock=self.clock.monotonic,
        )
        vouchers = Vouchers(TrustStore(self.home), KeyStore(self.home))
        self.watch = StandingWatch(
            self.library,
            Standings(store, vouchers.voices, read_facts),
            Riser(self.library, vouchers, BundleStore(self.home)),
        )
        self.supervisor = Supervisor(
            library=self.library,
            choices=self.choices,
            scrubber=self.scrubber,
            jobs=self.jobs,
            report=self.events.append,
            base_upload=upload,
            base_download=download,
            watch=self.watch,
            now=self.now,
            clock=self.clock,
        )

    def now(self):
        return START + timedelta(seconds=self.clock.elapsed)

    def stand_still(self, request, report, on_plan):
        self.requests.append(request)
        on_plan(SnapshotId.parse(request.target))
        while True:
            report(Progress("download", 1, 10, facts={"received": 100, "uploaded": 40}))
            threading.Event().wait(0.002)

    def hold(self, number):
        """Put a snapshot into the library, verified."""
        files = {"config.json": b"{}\n", "model.bin": noise(2_000 + number, "w")}
        snapshot = make_snapshot(self.library.root / REPO, files, str(identity(number).commit))
        paths = [file.path for file in snapshot.metainfo.files]
        verified = Verified.now(snapshot.metainfo.infohash.v2, snapshot.folder, paths)
        self.library.finish(identity(number), CheckedTorrent.of(snapshot.metainfo), None, verified)
        return snapshot

    def turns(self, seconds):
        """Let the node take its turns for so long."""
        until = self.clock.elapsed + seconds
        while self.clock.elapsed < until:
            self.clock.sleep(0.25)
            self.supervisor.tick()

    def happened(self, name):
        return [event.facts for event in self.events if isinstance(event, Happened) and event.event == name]

    def warnings(self):
        return [event.text for event in self.events if isinstance(event, Notice) and event.level == "warning"]


@pytest.fixture
def store(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as made:
        yield made


@pytest.fixture
def world(tmp_path, store):
    made = World(tmp_path, store)
    yield made
    made.supervisor.stop()


def test_the_limits_of_the_start_are_applied_before_the_first_turn(tmp_path, store):
    world = World(tmp_path, store, upload=500, download=0)
    world.choices.change_limits(lambda _: Limits(upload=700, download=900))
    world.supervisor.start(world.node)
    assert (world.node.rates, world.node.holds) == ([(500, 900)], [False])
    world.supervisor.stop()


def test_changed_limits_hold_within_a_second(world):
    world.supervisor.start(world.node)
    world.choices.change_limits(lambda _: Limits(upload=700))
    world.turns(CHOICES_EVERY + 0.25)
    assert world.node.rates == [(0, 0), (700, 0)]
    world.turns(5)
    assert len(world.node.rates) == 2  # nothing changed since


def test_outside_the_hours_nothing_is_transferred_and_inside_it_goes_on(world):
    world.choices.change_limits(lambda _: Limits(hours=(Hours.parse("23:00-07:00"),)))
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.turns(2)
    assert world.node.holds == [True]
    assert (job.state, world.supervisor.allowed.may_transfer) == (JobState.QUEUED, False)
    assert world.happened("limits") == [{"may_upload": False, "reason": "outside 23:00-07:00"}]
    world.clock.sleep(3600)
    world.turns(2)
    assert world.node.holds == [True, False]
    assert world.happened("limits")[-1] == {"may_upload": True, "reason": None}
    wait_until(lambda: world.requests, SECONDS, "the fetch to begin")
    world.clock.sleep(8 * 3600)  # until six in the morning, and one hour more
    world.turns(2)
    assert world.node.holds == [True, False, True]
    wait_until(lambda: job.thread is None, SECONDS, "the fetch to stop")
    assert job.state is JobState.QUEUED


def test_a_quota_slows_down_and_ends_the_upload_and_a_new_month_lifts_it(world):
    world.choices.change_limits(lambda _: Limits(monthly_upload=1_000_000))
    world.supervisor.start(world.node)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=0)]
    for sent in (0, 500_000, 900_000):
        world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=sent)]
        world.turns(CHOICES_EVERY + 0.25)
    rates = [upload for upload, _ in world.node.rates]
    assert rates == sorted(rates, reverse=True)
    assert world.node.holds[-1] is False
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=1_000_001)]
    world.turns(CHOICES_EVERY + 0.25)
    assert world.node.holds[-1] is True
    assert world.supervisor.figures.uploaded_this_month == 1_000_001
    assert world.happened("limits")[-1]["reason"] == "this month's upload of 1.00 MB is used up"
    assert world.choices.month(world.now()).uploaded == 1_000_001  # everybody who asks is told the same
    world.clock.sleep(3 * 24 * 3600)  # December
    world.turns(2)
    assert world.node.holds[-1] is False


def test_what_is_no_snapshot_counts_for_the_quota_too(world):
    world.choices.change_limits(lambda _: Limits(monthly_upload=1_000))
    world.supervisor.start(world.node)
    world.node.uploaded_besides = 1_500
    world.turns(CHOICES_EVERY + 0.25)
    assert world.node.holds[-1] is True
    world.supervisor.stop()
    assert world.choices.month(world.now()).uploaded == 1_500
    assert world.choices.transfers() == {}


def test_uploads_are_booked_now_and_then_once_each_even_when_a_counter_begins_anew(world):
    world.supervisor.start(world.node)
    for sent in (100, 250, 30, 80):
        world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=sent)]
        world.turns(COUNT_EVERY + 0.5)
    assert world.choices.transfers() == {str(identity(1)): Transfer(250 + 80)}
    (row,) = world.supervisor.look()
    assert row.uploaded_ever == 330


def test_what_was_not_booked_yet_is_shown_and_booked_at_the_end(world):
    world.supervisor.start(world.node)
    world.turns(1)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=70)]
    (row,) = world.supervisor.look()
    assert row.uploaded_ever == 70
    assert world.choices.transfers() == {}
    world.supervisor.stop()
    assert world.choices.transfers() == {str(identity(1)): Transfer(70)}


def test_who_asks_is_told_what_was_moved_until_now(world):
    world.supervisor.start(world.node)
    world.turns(1)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=70)]
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(world.supervisor.count_now)
        wait_until(lambda: (world.supervisor.tick(), asked.done())[1], SECONDS, "the counting")
        asked.result()
    assert world.choices.month(world.now()) == Transfer(70)


def test_choices_reach_the_node_once_each_and_their_end_as_well(world):
    world.choices.pause(identity(1), paused=True)
    world.choices.prioritise(identity(2), Priority.LOW)
    world.supervisor.start(world.node)
    assert world.node.held == {identity(1): (True, -1), identity(2): (False, 2)}
    world.node.held.clear()
    world.turns(3)
    assert world.node.held == {}
    world.choices.forget(identity(1))
    world.turns(2)
    assert world.node.held == {identity(1): (False, -1)}


def test_a_choice_that_was_made_here_holds_at_once(world):
    world.supervisor.start(world.node)
    world.choices.pause(identity(1), paused=True)
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(world.supervisor.choices_changed)
        wait_until(lambda: world.node.wakes, SECONDS, "the call")
        world.supervisor.tick()
        asked.result(SECONDS)
    assert world.node.held == {identity(1): (True, -1)}


def test_calls_of_other_threads_run_on_the_nodes_and_bring_back_answers_and_errors(world):
    world.supervisor.start(world.node)

    def fail():
        raise DiskError("the disk is full")

    with ThreadPoolExecutor(2) as others:
        where = others.submit(world.supervisor.on_node, threading.get_ident)
        broken = others.submit(world.supervisor.on_node, fail)
        wait_until(lambda: world.node.wakes == 2, SECONDS, "the calls")
        world.supervisor.tick()
        assert where.result(SECONDS) == threading.get_ident()
        with pytest.raises(DiskError):
            broken.result(SECONDS)


def test_who_still_waits_when_the_node_stops_is_told_and_so_is_who_comes_later(world):
    world.supervisor.start(world.node)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(world.supervisor.on_node, lambda: 1)
        wait_until(lambda: world.node.wakes, SECONDS, "the call")
        world.supervisor.stop()
        with pytest.raises(NetworkError, match="the node is stopping"):
            waiting.result(SECONDS)
    with pytest.raises(NetworkError, match="the node is stopping"):
        world.supervisor.on_node(lambda: 1)
    assert not world.supervisor.busy


def test_a_fetch_is_shown_as_it_stands(world):
    world.supervisor.start(world.node)
    world.turns(1)  # the first count, of nothing: the next one is COUNT_EVERY later
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    assert world.node.wakes == 1
    world.turns(1)
    wait_until(lambda: job.progress, SECONDS, "its progress")
    (row,) = world.supervisor.look()
    assert (row.state, row.progress, row.uploaded) == ("downloading", 0.1, 40)
    assert world.supervisor.figures.jobs[0].state == "downloading"
    world.choices.pause(identity(1), paused=True)
    world.turns(2)
    wait_until(lambda: job.thread is None, SECONDS, "the fetch to stop")
    world.turns(1)
    (row,) = world.supervisor.look()
    assert row.state == "paused"
    assert world.choices.month(world.now()) == Transfer()  # not counted yet
    world.turns(COUNT_EVERY + 0.5)
    assert world.choices.month(world.now()) == Transfer(40, 100)


def test_the_node_looks_at_the_library_as_soon_as_a_fetch_has_ended(world):
    world.fetch = lambda request, report, on_plan: fetch_answer(identity(1))
    world.supervisor.start(world.node)
    world.turns(1)
    assert world.node.looks == 0
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    wait_until(lambda: (world.supervisor.tick(), job.state.ended)[1], SECONDS, "the fetch")
    world.supervisor.tick()
    world.supervisor.tick()
    assert world.node.looks == 1


@pytest.mark.parametrize("seen", [True, False])
def test_a_fetch_whose_disk_was_gone_goes_on_as_soon_as_it_is_back(world, monkeypatch, seen):
    """Whether or not the supervisor has looked while it was gone."""
    missing, gone = [object()], threading.Event()

    def fetch(request, report, on_plan):
        on_plan(SnapshotId.parse(request.target))
        if not gone.is_set():
            gone.set()
            raise AwayError(identity(1), Path("/mnt/disk"))
        return fetch_answer(identity(1))

    world.fetch = fetch
    monkeypatch.setattr(Library, "missing_folders", property(lambda _: list(missing) if seen else []))
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.supervisor.tick()
    wait_until(lambda: job.is_away, SECONDS, "the disk to be missed")
    if seen:
        world.turns(2 * DISKS_EVERY)
        assert job.is_away
        missing.clear()
    world.turns(DISKS_EVERY + 0.5)
    wait_until(lambda: job.state is JobState.DONE, SECONDS, "the fetch")
    assert world.clock.elapsed < 10  # long before it would have been tried again


def test_new_rates_begin_fetches_again(world):
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.turns(1)
    wait_until(lambda: job.progress, SECONDS, "its progress")
    world.choices.change_limits(lambda _: Limits(download=5))
    world.turns(2)
    wait_until(lambda: (world.supervisor.tick(), len(world.requests) == 2)[1], SECONDS, "its second try")


def test_removing_a_snapshot_stops_its_fetch_lets_it_go_and_forgets_what_was_chosen(world):
    world.hold(1)
    world.choices.pin(identity(1), pinned=True)
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.turns(1)
    wait_until(lambda: job.progress, SECONDS, "its progress")
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(world.supervisor.remove, world.library.get(identity(1)))
        wait_until(lambda: (world.supervisor.tick(), asked.done())[1], SECONDS, "the removal")
        asked.result()
    assert job.state is JobState.STOPPED
    assert world.node.gone == [identity(1)]
    assert world.library.all() == []
    assert world.choices.of(identity(1)) == Choice()


def rot(snapshot):
    path = snapshot.folder / "model.bin"
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_what_is_due_is_scrubbed_and_what_was_scrubbed_lately_is_not(world):
    world.hold(1)
    world.hold(2)
    world.scrubber._remember(identity(1), ScrubRecord(world.now() - WEEK))
    world.scrubber._remember(identity(2), ScrubRecord(world.now() - WEEK / 2))
    world.supervisor.start(world.node)
    wait_until(lambda: world.happened("scrubbed"), SECONDS, "the pass")
    assert [facts["commit"] for facts in world.happened("scrubbed")] == [str(identity(1).commit)]
    world.clock.sleep(WEEK.total_seconds() / 2)
    world.supervisor.scrub_soon()
    wait_until(lambda: len(world.happened("scrubbed")) == 2, SECONDS, "the next pass")
    assert world.happened("scrubbed")[-1]["commit"] == str(identity(2).commit)
    world.turns(COUNT_EVERY + 0.5)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0)]
    assert world.supervisor.look()[0].last_scrub == "2026-11-29T22:00:00Z"


@pytest.mark.parametrize(
    ("record", "day"),
    [
        (ScrubRecord(START - WEEK), 0),
        (ScrubRecord(START - 3 * WEEK), 0),
        (ScrubRecord(START - timedelta(days=2)), 5),
        (ScrubRecord(START), None),  # after the last of the days
        (ScrubRecord(START, read=frozenset({"model.bin"})), 0),  # under way
        (ScrubRecord(START + WEEK), 0),  # by a clock that went wrong
        (None, 3),  # never read since it came
    ],
)
def test_the_calendar_shows_when_each_snapshot_is_due(tmp_path, store, record, day):
    world = World(tmp_path, store)
    world.hold(1)
    arrived = (START - timedelta(days=4)).timestamp()
    os.utime(world.library.get(identity(1)).torrent_path, (arrived, arrived))
    if record is not None:
        world.scrubber._remember(identity(1), record)
    assert world.scrubber.calendar(7) == tuple(int(one == day) for one in range(7))
    assert (day == 0) == bool(world.scrubber.due())


def test_rot_is_read_again_repaired_and_noted_as_mended(world):
    rot(world.hold(1))
    world.scrubber._remember(identity(1), ScrubRecord(world.now() - WEEK))
    mend = threading.Event()

    def repair(request, report, on_plan):
        world.requests.append(request)
        on_plan(SnapshotId.parse(request.target))
        assert mend.wait(SECONDS)
        return fetch_answer(identity(1))

    world.fetch = repair
    world.supervisor.start(world.node)
    wait_until(lambda: (world.supervisor.tick(), world.requests)[1], SECONDS, "the repair")
    assert [(one.kind, one.target) for one in world.requests] == [("repair", str(identity(1)))]
    assert world.node.read == [identity(1)]
    assert world.verified.stamp(identity(1)) == 0
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0)]
    world.turns(2 * COUNT_EVERY)
    assert len(world.requests) == 1  # one repair for one pass
    mend.set()
    wait_until(lambda: world.happened("mended"), SECONDS, "the repair's end")
    world.turns(COUNT_EVERY + 0.5)
    assert world.supervisor.look()[0].damaged_files == 0


def test_what_another_program_found_damaged_is_repaired_as_well(world):
    snapshot = world.hold(1)
    world.scrubber._remember(identity(1), ScrubRecord(world.now()))
    world.supervisor.start(world.node)
    world.turns(MEND_EVERY + 0.5)
    assert world.node.read == []
    rot(snapshot)
    Scrubber(world.library, world.verified, world.scrubber.store, WEEK, now=world.now).scrub(
        world.library.get(identity(1))
    )
    world.turns(MEND_EVERY + 0.5)
    assert world.node.read == [identity(1)]
    wait_until(lambda: world.requests, SECONDS, "the repair")


def test_what_is_being_fetched_is_not_scrubbed(world):
    world.hold(1)
    world.scrubber._remember(identity(1), ScrubRecord(world.now()))
    world.hold(2)
    world.scrubber._remember(identity(2), ScrubRecord(world.now()))
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.turns(1)
    wait_until(lambda: job.progress, SECONDS, "its progress")
    world.clock.sleep(WEEK.total_seconds())
    world.supervisor.scrub_soon()
    wait_until(lambda: world.happened("scrubbed"), SECONDS, "the pass")
    assert [facts["commit"] for facts in world.happened("scrubbed")] == [str(identity(2).commit)]


def test_a_torrent_that_cannot_be_read_does_not_end_the_pass(world):
    for number in (1, 2):
        world.hold(number)
        world.scrubber._remember(identity(number), ScrubRecord(world.now() - number * WEEK))
    world.library.torrent_path(identity(2)).write_bytes(b"no torrent")
    world.supervisor.start(world.node)
    wait_until(lambda: world.happened("scrubbed"), SECONDS, "the pass")
    assert world.warnings()[0].startswith(f"scrub: {identity(2)}: ")


def test_a_disk_that_fails_is_told_of_and_ends_nothing(world):
    world.supervisor.start(world.node)
    world.turns(1)

    def fail(*_given, **_named):
        raise DiskError("cannot use state.sqlite")

    count, world.choices.count = world.choices.count, fail
    try:
        world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=5)]
        world.turns(COUNT_EVERY + 0.5)
    finally:
        world.choices.count = count
    assert "cannot use state.sqlite" in world.warnings()


def test_figures_of_this_moment_are_those_of_the_nodes_thread(world):
    world.supervisor.start(world.node)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0)]
    world.node.reach = Reach(incoming=True)
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(world.supervisor.figures_now)
        wait_until(lambda: (world.supervisor.tick(), asked.done())[1], SECONDS, "the figures")
        figures = asked.result()
    assert [row.id for row in figures.rows] == [identity(1)]
    assert (figures.reach.incoming, figures.started) == (True, START.timestamp())
    assert set(figures.rooms) == {str(world.library.root)}


def test_a_row_is_made_again_only_where_something_of_it_has_changed(world):
    world.supervisor.start(world.node)
    world.node.shown = [SnapshotState(identity(number), "seeding", 1.0) for number in (1, 2)]
    first = world.supervisor.look()
    world.turns(CHOICES_EVERY + COUNT_EVERY)
    again = world.supervisor.look()
    assert all(one is other for one, other in zip(first, again, strict=True))
    world.choices.pin(identity(2), pinned=True)
    world.turns(CHOICES_EVERY + 0.25)
    pinned = world.supervisor.look()
    assert pinned[0] is first[0]
    assert pinned[1] == replace(first[1], pinned=True)


def test_a_look_books_what_was_moved_and_writes_nothing(world):
    world.supervisor.start(world.node)
    world.turns(1)
    world.node.shown = [SnapshotState(identity(1), "seeding", 1.0, uploaded=70)]
    world.node.uploaded_besides = 5
    version = world.scrubber.store.version()
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(world.supervisor.look_now)
        wait_until(lambda: (world.supervisor.tick(), asked.done())[1], SECONDS, "the look")
        (row,), month = asked.result()
    assert (row.uploaded_ever, month) == (70, Transfer(75))
    assert world.scrubber.store.version() == version


def test_a_sector_that_cannot_be_read_is_damage_and_says_that_the_disk_fails(world, monkeypatch):
    def unreadable(*_):
        raise FailingDiskError("cannot read model.bin", got="Input/output error")

    world.supervisor.start(world.node)
    world.hold(1)
    held = world.library.get(identity(1))
    assert world.supervisor.failing() == {}
    monkeypatch.setattr("p2pqwen.operations.verify.scrub.look_for_damage", unreadable)
    found = world.scrubber.scrub(held)
    assert {one.got for one in found.damage} == {"cannot read model.bin, got Input/output error"}
    assert list(world.supervisor.failing()) == [str(world.library.root)]


@pytest.mark.parametrize(("kind", "fails"), [(FailingDiskError, True), (DiskError, False)])
def test_what_a_peer_asked_for_and_the_disk_did_not_give_says_so_too(world, kind, fails):
    world.supervisor.start(world.node)
    world.hold(1)
    world.supervisor.disk_failed(world.library.get(identity(1)), kind("cannot read or write model.bin"))
    assert list(world.supervisor.failing()) == ([str(world.library.root)] if fails else [])
