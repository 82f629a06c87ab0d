"""A rate limit that many share and that may change while they wait."""

from __future__ import annotations

import asyncio

import pytest

from p2pqwen.webseed.token_bucket import TokenBucket


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.at = {}

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        for when in sorted(self.at):
            if when <= self.now:
                self.at.pop(when)()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("p2pqwen.webseed.token_bucket.asyncio.sleep", clock.sleep)
    return clock


def take(bucket, *counts):
    async def run():
        for count in counts:
            await bucket.take(count)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("rate", "counts", "seconds"),
    [
        (0, [10**9] * 3, 0.0),
        (100, [100], 0.0),  # a second's worth is free
        (100, [100, 50], 0.5),
        (100, [1000], 9.0),
        (100, [30] * 50, 14.0),
    ],
)
def test_what_is_taken_takes_its_time(clock, rate, counts, seconds):
    take(TokenBucket(rate, clock), *counts)
    assert clock.now == pytest.approx(seconds)


def test_nobody_saves_up(clock):
    bucket = TokenBucket(100, clock)
    clock.now = 1000.0
    take(bucket, 100, 100)
    assert clock.now == pytest.approx(1001.0)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 2.0), (1000, 2.7), (50, 16.0)])
def test_a_new_rate_is_for_those_who_wait_as_well(clock, rate, seconds):
    bucket = TokenBucket(100, clock)
    clock.at[2.0] = lambda: bucket.set_rate(rate)
    take(bucket, 1000)  # 9 s at the old rate
    assert clock.now == pytest.approx(seconds)


def test_a_time_without_a_limit_leaves_no_debt(clock):
    bucket = TokenBucket(0, clock)
    take(bucket, 10**9)
    bucket.set_rate(100)
    take(bucket, 50)
    assert clock.now == pytest.approx(0.5)
