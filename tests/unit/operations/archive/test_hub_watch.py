"""Rounds of the node's watch that fail, are cut off, or may not begin."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.events import Happened
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.archive import hub_watch
from p2pqwen.operations.archive.bulk_preserve import BulkContext, BulkOptions
from p2pqwen.operations.archive.hub_watch import CutOffError, HubWatch, Schedule, throttle
from p2pqwen.operations.archive.watch_record import RoundFailed, RoundProgress, WatchRecord, last_round

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Rig:
    """A watch without a Hub, whose clock stands still until it is moved."""

    def __init__(self, store):
        self.now, self.events, self.held, self.calls, self.error = START, [], "", 0, None
        self.store = store
        places = BulkContext(None, None, None, None, clock=lambda: self.now)
        self.watch = HubWatch(
            Schedule(HOUR, None),
            BulkOptions(),
            places,
            store,
            wanted=self.wanted,
            tracked=list,
            report=self.events.append,
            held_back=lambda: self.held,
        )

    def wanted(self):
        self.calls += 1
        raise self.error

    def round(self):
        self.watch._preserve_if_due(self.now)
        return last_round(self.store)


@pytest.fixture
def rig(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        yield Rig(store)


@pytest.mark.parametrize(
    ("error", "words"),
    [(NetworkError("the Hub is silent"), "the Hub is silent"), (RuntimeError("a bug"), "RuntimeError: a bug")],
)
def test_a_round_that_fails_is_told_and_tried_again_less_and_less_often(rig, error, words):
    rig.error = error
    assert rig.round() == WatchRecord(START, START, 1, RoundFailed(words))
    assert [event.event for event in rig.events] == ["watch started", "watch failed"]
    rig.now += 4 * MINUTE
    assert rig.round().failed_rounds == 1  # too soon
    rig.now += MINUTE
    assert rig.round().failed_rounds == 2
    rig.now += 9 * MINUTE
    assert rig.round().failed_rounds == 2
    assert rig.calls == 2


@pytest.mark.parametrize("reason", ["outside the hours", "stop"])
def test_a_round_that_is_cut_off_is_neither_over_nor_failed(rig, reason):
    def wanted():
        if reason == "stop":
            rig.watch._background.tell()
        else:
            rig.held = reason
        rig.watch.keep_on()

    rig.watch.wanted = wanted
    with pytest.raises(CutOffError, match="node stops" if reason == "stop" else reason):
        rig.round()
    assert last_round(rig.store) == WatchRecord(START, noted=START)
    assert last_round(rig.store).due(HOUR) is None  # at once, when it may


def test_102_what_a_killed_node_left_is_interrupted_and_the_next_one_says_so(rig):
    """The next node may not go on at once, or at all: it must not be taken for the one that works on the round."""
    rig.store.put("watch", WatchRecord(START, None, 0, RoundProgress("1 of 2"), noted=START + MINUTE).to_json())
    rig.watch.schedule = Schedule(None, None)
    with rig.watch:
        left = last_round(rig.store)
    assert left.interrupted == START + MINUTE
    assert left.cut_off(node_runs=True) == left.cut_off(node_runs=False) == START + MINUTE


def test_102_a_round_that_the_hours_cut_off_says_since_when(rig):
    rig.store.put("watch", WatchRecord(START, None, noted=START).to_json())
    rig.now += 5 * MINUTE
    rig.watch._cut_off = True
    rig.watch._interrupted()
    assert last_round(rig.store).cut_off(node_runs=True) == START + 5 * MINUTE


def test_nothing_due_is_nothing_done(rig):
    rig.store.put("watch", WatchRecord(START - MINUTE, START - MINUTE).to_json())
    rig.round()
    assert (rig.calls, rig.events) == (0, [])


def test_a_watch_with_nothing_to_do_starts_no_thread(rig):
    rig.watch.schedule = Schedule(None, None)
    with rig.watch:
        assert not rig.watch.busy
        assert "hub watch" not in {thread.name for thread in threading.enumerate()}
    assert not rig.watch.busy


def test_downloads_keep_to_the_rate_of_the_moment_and_end_when_they_must(rig, monkeypatch):
    taken = []

    class Pace:
        def __init__(self, rate):
            self.rate = rate

        def took(self, count):
            taken.append((self.rate, count))

    monkeypatch.setattr(hub_watch, "ReadThrottle", Pace)
    rate = 1000
    took = throttle(lambda: rig.watch, lambda: rate)
    took(5)
    rate = 0
    took(7)
    rig.held = "outside the hours"
    with pytest.raises(CutOffError):
        took(9)
    assert taken == [(1000, 5), (0, 7)]
    assert not any(isinstance(event, Happened) for event in rig.events)
