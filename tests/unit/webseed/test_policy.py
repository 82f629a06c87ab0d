"""When web seeds join and when they step back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.webseed.policy import DWELL, FAST, LONELY, PATIENT, SLOW, SwarmView, WebSeedDecision, WebSeedUse

NOBODY = SwarmView(peers=0, rate=0, can_find_peers=True, all_offered=False)
GOOD = SwarmView(peers=3, rate=2 * FAST, can_find_peers=True, all_offered=True)
MIDDLING = SwarmView(peers=3, rate=(SLOW + FAST) // 2, can_find_peers=True, all_offered=True)
CRAWLING = SwarmView(peers=3, rate=SLOW // 10, can_find_peers=True, all_offered=True)
PARTIAL = SwarmView(peers=3, rate=2 * FAST, can_find_peers=True, all_offered=False)


def course(choice, *stretches, step=0.5):
    """Return the decisions over stretches of (view, seconds)."""
    now = 100.0
    decision = WebSeedDecision.first(choice, now)
    seen = [decision]
    for view, seconds in stretches:
        for _ in range(round(seconds / step)):
            now += step
            decision = decision.next(view, now)
            seen.append(decision)
    return seen


@pytest.mark.parametrize(
    ("stretches", "in_use", "reason"),
    [
        ([(NOBODY, LONELY)], False, "peers first"),
        ([(NOBODY, LONELY + 1)], True, "there are no peers"),
        ([(SwarmView(0, 0, can_find_peers=False, all_offered=False), 0.5)], True, "no way to find peers"),
        ([(GOOD, 600)], False, "peers first"),
        ([(MIDDLING, 600)], False, "peers first"),
        ([(PARTIAL, LONELY + 1)], True, "no peer has all that is missing"),
        ([(CRAWLING, PATIENT - 1)], False, "peers first"),
        ([(CRAWLING, PATIENT + 1)], True, "peers are slow"),
        ([(NOBODY, LONELY + 1), (GOOD, PATIENT + 1)], True, "there are no peers"),
        ([(NOBODY, LONELY + 1), (GOOD, DWELL + 1)], False, "peers have everything and are fast"),
        ([(NOBODY, LONELY + 1), (MIDDLING, 600)], True, "there are no peers"),
        ([(CRAWLING, PATIENT + 1), (GOOD, DWELL + 1), (CRAWLING, PATIENT + 1)], True, "peers are slow"),
    ],
)
def test_auto(stretches, in_use, reason):
    last = course(WebSeedUse.AUTO, *stretches)[-1]
    assert last.in_use is in_use
    assert reason in last.reason


@pytest.mark.parametrize(("choice", "in_use"), [(WebSeedUse.ALWAYS, True), (WebSeedUse.NEVER, False)])
@pytest.mark.parametrize("view", [NOBODY, GOOD, CRAWLING])
def test_a_users_choice_stands(choice, in_use, view):
    assert all(decision.in_use is in_use for decision in course(choice, (view, 120)))


def test_under_a_download_limit_peers_that_fill_it_are_fast_enough():
    limited = SwarmView(peers=1, rate=95_000, can_find_peers=True, all_offered=True, limit=100_000)
    assert limited.fast
    assert not limited.slow


views = st.builds(
    SwarmView,
    peers=st.integers(0, 3),
    rate=st.integers(0, 2 * FAST),
    can_find_peers=st.booleans(),
    all_offered=st.booleans(),
)


@given(st.lists(st.tuples(views, st.floats(0.1, 10)), max_size=60))
def test_it_does_not_go_to_and_fro(moments):
    """Whatever the swarm does, web seeds stay for a while once they joined, and nothing changes without a reason."""
    now, decision = 0.0, WebSeedDecision.first(WebSeedUse.AUTO, 0.0)
    for view, seconds in moments:
        now += seconds
        following = decision.next(view, now)
        if decision.in_use and not following.in_use:
            assert now - decision.changed_at >= DWELL
        assert (following.in_use == decision.in_use) is (following.changed_at == decision.changed_at)
        assert following.reason
        decision = following
