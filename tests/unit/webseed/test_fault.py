"""How long an upstream is left alone, and when it is given up."""

from __future__ import annotations

import pytest

from p2pqwen.webseed.fault import Backoff, Kind, UpstreamError


@pytest.mark.parametrize("kind", list(Kind))
def test_pauses_grow_up_to_a_bound_and_end(kind):
    backoff, now, pauses = Backoff(), 1000.0, []
    for _ in range(30):
        backoff.failed(UpstreamError(kind, "no"), now)
        pauses.append(backoff.not_before - now)
        now = backoff.not_before
    assert 0 < pauses[0] < 10
    assert pauses[3] > pauses[0]
    assert max(pauses) <= 600 * 1.25
    assert backoff.hopeless
    backoff.worked()
    assert not backoff.hopeless
    backoff.failed(UpstreamError(kind, "no"), now)
    assert backoff.not_before - now < 10


def test_several_requests_that_meet_one_trouble_count_once():
    backoff = Backoff()
    for _ in range(8):
        backoff.failed(UpstreamError(Kind.BUSY, "429", wait=3.0), 100.0)
    assert backoff.failures == 1
    assert 103.0 <= backoff.not_before < 103.2


def test_a_wait_that_was_asked_for_is_kept_to_whatever_the_pace():
    backoff = Backoff(pace=0.01)
    backoff.failed(UpstreamError(Kind.BUSY, "429", wait=7.0), 0.0)
    assert backoff.not_before >= 7.0


def test_a_quota_that_is_used_up_holds_back_and_is_no_failure():
    backoff = Backoff()
    backoff.hold(55.0, 10.0)
    assert backoff.not_before == 65.0
    assert backoff.failures == 0
    assert not backoff.hopeless


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        (Kind.ABSENT, 3),
        (Kind.REFUSED, 4),
        (Kind.UNFIT, 4),
        (Kind.WRONG, 4),
        (Kind.SILENT, 4),
        (Kind.UNREACHABLE, 5),
        (Kind.BUSY, 6),
        (Kind.BROKEN, 8),
    ],
)
def test_when_an_upstream_is_given_up(kind, times):
    backoff, now = Backoff(), 0.0
    for number in range(1, times + 1):
        backoff.failed(UpstreamError(kind, "no"), now)
        assert backoff.hopeless is (number >= times)
        now = backoff.not_before
