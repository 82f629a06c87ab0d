"""uTP is tried when TCP reaches nobody, for a while, ever more rarely."""

from __future__ import annotations

from itertools import pairwise

from p2pqwen.swarm.transport import (
    LONELY_SECONDS,
    LONELY_SECONDS_OF_ONE,
    LONGEST_LONELY_SECONDS,
    TRIAL,
    TransportPolicy,
)


def run(lonely, seconds, *timeouts):
    """The moments at which uTP went on and off; `lonely` tells for each second."""
    policy = TransportPolicy(0.0, *timeouts)
    changes = []
    for now in range(seconds):
        before = policy.utp
        if policy.decide(float(now), lonely=lonely(now)) != before:
            changes.append((now, policy.utp))
    return changes


def test_tcp_alone_while_somebody_answers():
    assert run(lambda now: False, 1000) == []


def test_one_silent_moment_is_no_reason():
    assert run(lambda now: now % int(LONELY_SECONDS) == 0, 300) == []


def test_utp_gets_its_trial_and_then_tcp_again():
    on, off, again = run(lambda now: True, 80)[:3]
    assert on == (int(LONELY_SECONDS), True)
    assert off == (int(LONELY_SECONDS + TRIAL), False)
    assert again == (int(LONELY_SECONDS + TRIAL + 2 * LONELY_SECONDS), True)


def test_where_only_one_peer_may_be_spoken_to_it_comes_sooner():
    assert run(lambda now: True, 20, LONELY_SECONDS_OF_ONE)[0] == (2, True)


def test_trials_become_rare_but_never_end():
    starts = [now for now, utp in run(lambda now: True, 4000) if utp]
    gaps = [after - before - TRIAL for before, after in pairwise(starts)]
    assert gaps == sorted(gaps)
    assert max(gaps) == LONGEST_LONELY_SECONDS


def test_who_has_just_been_heard_of_does_not_wait_for_a_rare_trial():
    policy = TransportPolicy(0.0)
    for now in range(1000):
        policy.decide(float(now), lonely=True)
    assert not policy.utp
    waited = next(now for now in range(1000, 1100) if policy.decide(float(now), lonely=True, news=now == 1000)) - 1000
    assert waited <= LONELY_SECONDS


def test_a_trial_ends_even_if_it_helped():
    changes = run(lambda now: now < LONELY_SECONDS + 5, 300)
    assert changes == [(int(LONELY_SECONDS), True), (int(LONELY_SECONDS + TRIAL), False)]
