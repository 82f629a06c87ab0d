"""Limits as pure rules, and the counters behind the quota."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import UsageError
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.node.limits import SLOWEST, TRICKLE, Hours, Limits, Priority, allowance, share_upload
from p2pqwen.operations.node.preferences import Choices, Transfer
from p2pqwen.values.snapshot_id import SnapshotId

NIGHT = Limits(upload=1000, hours=(Hours.parse("23:00-07:00"),))
ONE = SnapshotId.parse("Qwen/Tiny@" + "a" * 40)
TWO = SnapshotId.parse("Qwen/Tiny@" + "b" * 40)


@pytest.mark.parametrize(
    ("limits", "clock", "uploaded", "may_upload", "may_transfer"),
    [
        (Limits(), "12:00", 10**15, True, True),
        (NIGHT, "23:00", 0, True, True),
        (NIGHT, "06:59", 0, True, True),
        (NIGHT, "07:00", 0, False, False),
        (NIGHT, "22:59", 0, False, False),
        (Limits(hours=(Hours.parse("0:00-24:00"),)), "23:59", 0, True, True),
        (Limits(hours=(Hours.parse("1:00-2:00"), Hours.parse("13:00-14:00"))), "13:30", 0, True, True),
        (Limits(monthly_upload=500), "12:00", 499, True, True),
        (Limits(monthly_upload=500), "12:00", 500, False, True),
    ],
)
def test_what_may_be_done(limits, clock, uploaded, may_upload, may_transfer):
    now = datetime.fromisoformat(f"2026-11-23T{clock}")
    found = allowance(limits, now=now, uploaded_this_month=uploaded)
    assert (found.may_upload, found.may_transfer) == (may_upload, may_transfer)
    assert bool(found.reason) == (not may_upload)
    held_by_quota = SLOWEST if limits.monthly_upload else limits.upload
    assert found.upload_of_fetches == (held_by_quota if may_upload else TRICKLE)


@pytest.mark.parametrize(
    ("own", "rest", "rate", "of_fetches"),
    [
        (0, 10**12, 2**31 - 1, SLOWEST * 4**7),
        (0, 32_000_000, 3_200_000, 256_000),
        (1_000_000, 32_000_000, 1_000_000, 256_000),
        (20_000, 32_000_000, 20_000, 20_000),
        (0, 160_000, SLOWEST, SLOWEST),
        (0, 1, SLOWEST, SLOWEST),
        (5_000, 1, 5_000, 5_000),
    ],
)
def test_what_remains_of_a_quota_lasts_for_several_looks(own, rest, rate, of_fetches):
    limits = Limits(upload=own, monthly_upload=10**12)
    found = allowance(limits, now=datetime.fromisoformat("2026-11-23T12:00"), uploaded_this_month=10**12 - rest)
    assert (found.upload, found.upload_of_fetches) == (rate, of_fetches)


@given(st.integers(1, 10**13), st.integers(0, 10**9), st.integers(0, 10**13), st.integers(1, 2))
def test_a_line_of_any_speed_hardly_runs_past_the_quota(quota, own, used, late):
    now, limits = datetime.fromisoformat("2026-11-23T12:00"), Limits(upload=own, monthly_upload=quota)
    sent = [used]
    for second in range(200):
        found = allowance(limits, now=now, uploaded_this_month=sent[max(0, second - late)])
        if not found.may_upload:
            break
        sent.append(sent[-1] + found.upload + found.upload_of_fetches * (found.upload > 0))
    assert sent[-1] <= max(used, quota + 4 * SLOWEST * late)


@pytest.mark.parametrize(
    ("limit", "peers", "web", "shares"),
    [
        (0, 5_000, 5_000, (0, 0)),
        (1_000, 0, 0, (1_000, 1_000)),
        (1_000, 1_000, 0, (1_000, 500)),
        (1_000, 0, 1_000, (500, 1_000)),
        (1_000, 700, 300, (700, 500)),
        (1_000, 500, 500, (500, 500)),
        (1_000, 900, 900, (500, 500)),
        (1, 1, 1, (1, 1)),  # 0 would be no limit
    ],
)
def test_peers_and_http_share_the_upload(limit, peers, web, shares):
    assert share_upload(limit, peers=peers, web=web) == shares


@given(st.integers(2, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_that_want_all_settle_within_the_limit(limit, peers, web):
    for _ in range(3):
        peers, web = share_upload(limit, peers=peers, web=web)
    assert peers + web <= limit + 1  # an odd byte


@pytest.mark.parametrize("text", ["", "7-9", "25:00-26:00", "12:00-12:00", "0:00-24:00x", "12:60-13:00", "24:01-5:00"])
def test_what_are_no_hours(text):
    with pytest.raises(UsageError):
        Hours.parse(text)


@given(st.integers(0, 1439), st.integers(0, 1439))
def test_hours_and_their_opposite_share_the_day(start, end):
    if start == end:
        return
    day, night = Hours(start, end), Hours(end, start)
    assert all(day.holds(minute) != night.holds(minute) for minute in range(1440))
    assert Hours.parse(str(day)) == day


def test_changes_are_read_as_people_write_them_and_survive_storing():
    limits = Limits().changed(upload="2MB/s", download=None, monthly_upload="1.5 TB", hours="22:00-6:30,12:00-13:00")
    assert (limits.upload, limits.download, limits.monthly_upload) == (2_000_000, 0, 1_500_000_000_000)
    assert Limits.from_json(limits.to_json()) == limits
    assert limits.changed(upload="0", download=None, monthly_upload=None, hours="always").hours == ()
    assert limits.stricter(500, 700) == Limits(500, 700, limits.monthly_upload, limits.hours)
    with pytest.raises(UsageError):
        limits.changed(upload="fast", download=None, monthly_upload=None, hours=None)


def test_the_quota_survives_a_restart_and_turns_with_the_month(tmp_path):
    now = datetime.fromisoformat("2026-11-30T23:59")
    with StateStore(tmp_path / "state.sqlite") as store:
        Choices(store).count({ONE: Transfer(300, 5), TWO: Transfer(100)}, now)
    with StateStore(tmp_path / "state.sqlite") as store:
        choices = Choices(store)
        choices.count({ONE: Transfer(100)}, now)
        assert choices.month(now) == Transfer(500, 5)
        assert choices.month(now + timedelta(minutes=1)) == Transfer()
        assert choices.transfers() == {str(ONE): Transfer(400, 5), str(TWO): Transfer(100)}
        choices.count({ONE: Transfer(1)}, now + timedelta(minutes=1))
        assert choices.month(now) == Transfer(500, 5)  # a clock set back finds the old month as it was


def test_choices_for_a_snapshot(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        choices = Choices(store)
        choices.pause(ONE, paused=True)
        choices.prioritise(ONE, Priority.HIGH)
        assert choices.pause(ONE, paused=False).priority is Priority.HIGH
        assert choices.of(TWO).priority is Priority.NORMAL
        choices.forget(ONE)
        assert choices.all() == {}
        store.put(f"choice/{TWO}", {"paused": "yes", "priority": "absurd"})
        assert choices.of(TWO).paused is False
