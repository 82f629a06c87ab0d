"""How long an upstream is left alone, and when it is given up."""

from __future__ import annotations

import pytest

from p2pqwen.webseed.fault import Kind, Standing, UpstreamError


@pytest.mark.parametrize("kind", list(Kind))
def test_pauses_grow_up_to_a_bound_and_end(kind):
    standing, now, pauses = Standing(), 1000.0, []
    for _ in range(30):
        standing.failed(UpstreamError(kind, "no"), now)
        pauses.append(standing.not_before - now)
        now = standing.not_before
    assert 0 < pauses[0] < 10
    assert pauses[3] > pauses[0]
    assert max(pauses) <= 600 * 1.25
    assert standing.hopeless
    standing.worked()
    assert not standing.hopeless
    standing.failed(UpstreamError(kind, "no"), now)
    assert standing.not_before - now < 10


def test_several_requests_that_meet_one_trouble_count_once():
    standing = Standing()
    for _ in range(8):
        standing.failed(UpstreamError(Kind.BUSY, "429", wait=3.0), 100.0)
    assert standing.failures == 1
    assert 103.0 <= standing.not_before < 103.2


def test_a_wait_that_was_asked_for_is_kept_to_whatever_the_pace():
    standing = Standing(pace=0.01)
    standing.failed(UpstreamError(Kind.BUSY, "429", wait=7.0), 0.0)
    assert standing.not_before >= 7.0


def test_a_quota_that_is_used_up_holds_back_and_is_no_failure():
    standing = Standing()
    standing.hold(55.0, 10.0)
    assert standing.not_before == 65.0
    assert standing.failures == 0
    assert not standing.hopeless


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
    standing, now = Standing(), 0.0
    for number in range(1, times + 1):
        standing.failed(UpstreamError(kind, "no"), now)
        assert standing.hopeless is (number >= times)
        now = standing.not_before
