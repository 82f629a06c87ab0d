"""How often the Hub is asked: by what it says is left, and by when it says to come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from p2pqwen.hub.quota import LONGEST_WAIT, HubQuota

HUB = "https://hub.example:443"
API = "/api/models/Qwen/X"
FILE = "/Qwen/X/resolve/main/config.json"


class Hours:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(round(seconds, 3))
        self.now += seconds


@pytest.fixture
def hours():
    return Hours()


@pytest.fixture
def quota(hours):
    return HubQuota(lambda: hours.now, hours.sleep)


def left(remaining, seconds, quota=500):
    return {
        "ratelimit": f'"api";r={remaining};t={seconds}',
        "ratelimit-policy": f'"fixed window";"api";q={quota};w=300',
    }


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (200, {}, []),
        (200, left(400, 100), []),
        (200, left(51, 100), []),  # more than a tenth
        (200, left(50, 102), [2.0]),  # the last tenth, over the rest of the window
        (200, left(1, 100), [50.0]),
        (200, left(0, 55), [55.0]),
        (200, left(0, 99_999), [LONGEST_WAIT]),
        (429, left(0, 55), [55.0]),
        (429, {"Retry-After": "7"}, [7.0]),
        (503, {"Retry-After": "7"}, [7.0]),
        (429, {"Retry-After": "soon"}, []),
        (429, {"Retry-After": "-5"}, []),
        (429, {"Retry-After": "1000000000000"}, [LONGEST_WAIT]),
        (200, {"Retry-After": "7"}, []),  # no refusal
        (429, {"Retry-After": "90", **left(0, 55)}, [90.0]),
        (429, {"ratelimit": "nonsense"}, []),
    ],
)
def test_what_an_answer_costs_the_second_request_after_it(quota, hours, status, headers, waits):
    quota.before(HUB, API)
    quota.after(HUB, API, status, headers)
    quota.before(HUB, API)  # where requests are spread, the first goes out at once
    quota.before(HUB, API)
    assert [wait for wait in hours.slept if wait > 1] == waits


def test_a_date_to_come_back_at(quota, hours):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    quota.after(HUB, API, 429, {"Retry-After": later})
    quota.before(HUB, API)
    assert 50 < hours.slept[0] <= 60


def test_kinds_and_hosts_are_counted_apart(quota, hours):
    quota.after(HUB, API, 429, {"Retry-After": "60"})
    quota.before(HUB, FILE)
    quota.before("https://other.example:443", API)
    assert hours.slept == []
    quota.before(HUB, API)
    assert hours.slept == [60.0]


def test_a_new_window_ends_the_waiting_but_not_a_refusal(quota, hours):
    quota.after(HUB, API, 200, left(2, 300))
    quota.before(HUB, API)
    quota.before(HUB, API)
    quota.after(HUB, API, 429, {"Retry-After": "20"})
    quota.after(HUB, API, 200, left(500, 300))  # an answer that was on its way already
    quota.before(HUB, API)
    quota.before(HUB, API)
    assert hours.slept == [100.0, 20.0]


def test_a_whole_job_never_asks_more_often_than_is_allowed(quota, hours):
    """A Hub that allows 50 requests in 300 s is asked 200 times, and refuses none of them."""
    window, used = hours.now, 0
    for _ in range(200):
        quota.before(HUB, API)
        if hours.now - window >= 300:
            window, used = hours.now, 0
        used += 1
        assert used <= 50
        quota.after(HUB, API, 200, left(50 - used, int(window + 300 - hours.now) + 1, quota=50))
    assert hours.now < 1000 + 4 * 310


def test_long_waits_are_told_once_for_all_who_wait(quota, hours):
    told = []
    with quota.telling(told.append):
        quota.after(HUB, API, 429, {"Retry-After": "1"})
        quota.before(HUB, API)
        quota.after(HUB, API, 429, {"Retry-After": "60"})
        start = hours.now
        for _ in range(4):  # four threads at the same moment
            hours.now = start
            quota.before(HUB, API)
    quota.after(HUB, API, 429, {"Retry-After": "600"})
    quota.before(HUB, API)
    assert told == [60.0]
