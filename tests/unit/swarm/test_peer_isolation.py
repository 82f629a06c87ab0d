from __future__ import annotations

import pytest

from p2pqwen.errors import VerificationError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.peer_isolation import ENOUGH, PeerIsolation, TryOverError

HONEST, LIAR, OTHER = (Endpoint(f"192.0.2.{number}", 6881) for number in (1, 2, 3))
DAMAGE = TryOverError(bad=False)
LIED = TryOverError(bad=True)
STOPPED = TryOverError(bad=True, cause=VerificationError("the hashes contradict each other"))


def test_everybody_is_tried_once_and_only_liars_are_banned():
    trials = PeerIsolation(180)
    trials.next(DAMAGE, [LIAR, HONEST, LIAR, OTHER], gained=True)
    assert trials.only == LIAR
    trials.next(LIED, [], gained=False)
    assert (trials.only, trials.banned) == (HONEST, {LIAR.host})
    trials.next(DAMAGE, [], gained=True)
    assert trials.only == OTHER
    trials.next(DAMAGE, [], gained=False)
    assert trials.only is None  # everybody again, but for the liar
    trials.next(DAMAGE, [LIAR, HONEST], gained=False)
    assert trials.only == HONEST


def test_an_error_that_one_peer_made_is_not_the_torrents():
    trials = PeerIsolation(180)
    trials.next(STOPPED, [LIAR, HONEST], gained=False)
    trials.next(STOPPED, [], gained=False)
    assert (trials.only, trials.banned) == (HONEST, {LIAR.host})
    trials.next(DAMAGE, [], gained=True)
    assert trials.only is None


def test_an_error_that_every_peer_makes_is_the_torrents():
    trials = PeerIsolation(180)
    trials.next(STOPPED, [LIAR, HONEST], gained=False)
    trials.next(STOPPED, [], gained=False)
    with pytest.raises(VerificationError):
        trials.next(STOPPED, [], gained=False)


def test_an_error_before_anybody_was_seen_is_tried_again_a_few_times():
    trials = PeerIsolation(180)
    for _ in range(2):
        trials.next(STOPPED, [], gained=False)
        assert trials.only is None
    with pytest.raises(VerificationError):
        trials.next(STOPPED, [], gained=False)


def test_singly_everybody_has_a_turn_first_and_keeps_it_as_long_as_it_gives():
    trials = PeerIsolation(180, singly=True)
    trials.begin([LIAR, HONEST])
    assert trials.only == LIAR
    assert not trials.is_over(idle=False, failed=False, pieces=1000)
    assert trials.is_over(idle=False, failed=True, pieces=1000)
    trials.next(LIED, [], gained=False)
    assert (trials.only, trials.banned) == (HONEST, {LIAR.host})
    trials.next(DAMAGE, [], gained=True)
    assert trials.only is None  # everybody else, those nobody has named yet as well
    assert not trials.is_over(idle=True, failed=False, pieces=0)
    assert trials.is_over(idle=False, failed=True, pieces=0)  # at once
    trials.next(DAMAGE, [LIAR, OTHER, HONEST], gained=True)
    assert trials.only == OTHER


def test_otherwise_everybody_is_asked_from_the_beginning_and_a_turn_is_short():
    trials = PeerIsolation(180)
    trials.begin([LIAR, HONEST])
    assert trials.only is None
    assert not trials.is_over(idle=False, failed=True, pieces=0)
    trials.next(DAMAGE, [LIAR, HONEST], gained=True)
    assert not trials.is_over(idle=False, failed=False, pieces=ENOUGH - 1)
    assert trials.is_over(idle=False, failed=False, pieces=ENOUGH)


def test_all_trials_together_leave_time_for_the_rest():
    trials = PeerIsolation(20)
    trials.next(DAMAGE, [Endpoint(f"192.0.2.{number}", 6881) for number in range(10, 20)], gained=False)
    assert trials.trial_seconds == 1.0
    trials = PeerIsolation(180)
    trials.next(DAMAGE, [LIAR, HONEST], gained=False)
    assert trials.trial_seconds == 3.0
