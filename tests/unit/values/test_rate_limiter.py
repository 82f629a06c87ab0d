"""One rule of rate for reading, sending and asking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.values.rate_limiter import RateLimiter


@pytest.mark.parametrize(
    ("rate", "burst", "full", "counts", "seconds"),
    [
        (0, 1.0, True, [10**9], 0.0),
        (100, 1.0, True, [100], 0.0),
        (100, 1.0, True, [150], 0.5),
        (100, 1.0, False, [50], 0.5),
        (4, 2.0, True, [1] * 9, 0.25),
        (4, 0.25, True, [1, 1], 0.25),
    ],
)
def test_the_last_of_several_waits(rate, burst, full, counts, seconds):
    limiter = RateLimiter(rate, now=7.0, burst=burst, full=full)
    tickets = [limiter.take(count, 7.0) for count in counts]
    assert limiter.wait(tickets[-1], 7.0) == pytest.approx(seconds)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 500)), max_size=30), st.integers(1, 100), st.floats(0.1, 3))
def test_no_more_than_the_rate_and_one_burst_passes(steps, rate, burst):
    """Whoever waits as told: in any stretch of time no more passes than its share and one burst."""
    limiter, now, passed = RateLimiter(rate, now=0.0, burst=burst), 0.0, []
    for pause, count in steps:
        now += pause
        now += max(0.0, limiter.wait(limiter.take(count, now), now))
        passed.append((now, count))
    for first, (start, _) in enumerate(passed):
        for last in range(first, len(passed)):
            took = sum(count for _, count in passed[first + 1 : last + 1])
            assert took <= (passed[last][0] - start) * rate + burst * rate + 1e-6


def test_a_new_rate_is_for_those_that_wait():
    limiter = RateLimiter(100, now=0.0)
    ticket = limiter.take(1000, 0.0)
    assert limiter.wait(ticket, 0.0) == pytest.approx(9.0)
    limiter.set_rate(1000, 2.0)
    assert limiter.wait(ticket, 2.0) == pytest.approx(0.7)
    limiter.set_rate(0, 2.0)
    assert limiter.wait(ticket, 2.0) <= 0
