"""Rebalancing moves little, late and only where copies are left; and never twice the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from p2pqwen.stewardship.rebalance import GIVE_ABOVE, Holding, rebalance, why_kept
from tests.support.offers import offers_of
from tests.unit.stewardship.samples import GB, NOW, candidate, node, seen, snapshot

LONG_AGO = NOW - timedelta(days=200)


def holding(number, seeds, size=2 * GB, **more):
    return Holding(snapshot(number), size, LONG_AGO, seen(seeds), **more)


def giver(one):
    """A node whose turn it is to give this snapshot up."""
    return next(of for of in range(1000) if why_kept(one, node(of), NOW) is None)


def plan(candidates, holdings, of, budget=20 * GB):
    return rebalance(offers_of(candidates), holdings, node=node(of), budget=budget, now=NOW)


def test_a_well_kept_one_makes_room_for_an_endangered_one():
    one = holding(1, 50)
    found = plan([candidate(2, 1)], [one], giver(one), budget=3 * GB)
    assert [taken.snapshot for taken in found.take] == [snapshot(2)]
    assert [gone.snapshot for gone in found.give] == [snapshot(1)]
    assert "about 50 copies remain" in found.give[0].reason
    assert found.kept == ()


def test_free_budget_is_used_before_anything_is_given_up():
    one = holding(1, 50)
    found = plan([candidate(2, 1)], [one], giver(one), budget=4 * GB)
    assert (len(found.take), found.give) == (1, ())


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (holding(1, 50, pinned=True), "pinned"),
        (holding(1, 50, listed=False), "no trusted index"),
        (replace(holding(1, 50), since=NOW - timedelta(days=3)), "held for less than"),
        (replace(holding(1, 50), health=seen(50, looked=NOW - timedelta(days=20))), "its swarm was not checked"),
        (holding(1, int(GIVE_ABOVE)), "only 8 copies would be left"),
        (holding(1, None), "only 0 copies would be left"),
    ],
)
def test_what_must_stay_stays_whoever_asks(one, reason):
    assert all(reason in why_kept(one, node(of), NOW) for of in range(100))
    found = plan([candidate(2, 1)], [one], 1, budget=3 * GB)
    assert (found.take, found.give) == ((), ())
    assert reason in found.kept[0].reason


def test_not_all_holders_act_on_one_surplus():
    one = holding(1, 50)
    givers = sum(why_kept(one, node(of), NOW) is None for of in range(2000))
    assert 0.07 < givers / 2000 < 0.13


@pytest.mark.parametrize("seeds", [4, 5, 30])
def test_nothing_moves_for_what_is_not_in_danger(seeds):
    one = holding(1, 50)
    assert plan([candidate(2, seeds)], [one], giver(one), budget=3 * GB).give == ()


def test_a_tenth_of_the_budget_moves_at_once():
    holdings = [holding(number, 50, size=GB) for number in range(100)]
    candidates = [candidate(1000 + number, 1, size=GB) for number in range(100)]
    for of in range(20):
        found = plan(candidates, holdings, of, budget=100 * GB)
        assert sum(one.size for one in found.take) <= 10 * GB
        assert len(found.give) <= 10
    assert any(plan(candidates, holdings, of, budget=100 * GB).give for of in range(20))


def test_it_does_not_flap():
    """What was just taken for being in danger is not given up again when others took it too."""
    one = holding(1, 50)
    of = giver(one)
    found = plan([candidate(2, 1)], [one], of, budget=3 * GB)
    taken = Holding(found.take[0].snapshot, found.take[0].size, NOW, seen(40))
    again = rebalance(offers_of([candidate(1, 3)]), [taken], node=node(of), budget=3 * GB, now=NOW + timedelta(days=1))
    assert again.give == ()
    assert "held for less" in again.kept[0].reason


def test_what_nobody_has_is_not_made_room_for():
    one = holding(1, 50)
    lost = replace(candidate(2, 0), health=seen(0))
    assert plan([lost], [one], giver(one), budget=3 * GB).give == ()


@pytest.mark.parametrize(
    ("held", "size", "budget", "room", "reason", "kept"),
    [
        (
            holding(1, 50),
            5 * GB,
            3 * GB,
            None,
            "1.00 GB of the budget left, and giving up all that may go frees 2.00",
            1,
        ),
        (holding(1, 50), 5 * GB, 20 * GB, GB, "1.00 GB free on the roomiest disk, after its reserve, and giving", 1),
        (holding(1, 50, pinned=True), 5 * GB, 3 * GB, None, "1.00 GB of the budget left, and nothing held may be", 0),
    ],
)
def test_where_room_is_the_reason_it_is_said(held, size, budget, room, reason, kept):
    of = 1 if held.pinned else giver(held)
    found = rebalance(offers_of([candidate(2, 1, size=size)]), [held], node=node(of), budget=budget, now=NOW, room=room)
    assert found.exchanges == ()
    assert [one.snapshot for one in found.left_out] == [snapshot(2)]
    assert found.left_out[0].reason.startswith(f"no room: {reason}")
    assert ("makes too little room" in found.kept[0].reason) == bool(kept)
