"""What looks add up to: never more than was seen, fading with age, honest about what nobody knows."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.danger import Danger, danger_key, danger_of, expected_copies
from p2pqwen.stewardship.swarm_health import (
    HALF_LIFE,
    UNFADED,
    UNSEEN,
    Day,
    Sighting,
    Source,
    SwarmHealth,
    Trend,
    join,
    of_others,
    settled_seeds,
    trend_of,
)
from tests.unit.stewardship.samples import NOW, seen, snapshot

TODAY = date(2026, 11, 23)


def sighting(source, seeds, peers, **more):
    return Sighting(NOW, source, seeds, peers, **more)


@pytest.mark.parametrize(
    ("looks", "seeds", "peers"),
    [
        ([sighting(Source.TRACKER, 3, 5)], 3, 5),
        ([sighting(Source.TRACKER, 3, 5), sighting(Source.DHT, None, 9)], 3, 9),
        ([sighting(Source.TRACKER, 3, 5), sighting(Source.DHT, 4, 4)], 4, 5),  # not 7: they may be the same
        ([sighting(Source.DHT, None, 2)], None, 2),
        ([sighting(Source.CONNECTIONS, 4, 1)], 4, 4),  # a seed is a peer
    ],
)
def test_sources_are_never_added_up(looks, seeds, peers):
    found = join(looks)
    assert (found.seeds, found.peers) == (seeds, peers)
    assert join(reversed(looks)) == found


@pytest.mark.parametrize(
    ("seeds", "peers", "whole", "left"),
    [
        (3, 5, True, (2, 4)),
        (3, 5, False, (3, 4)),
        (0, 0, True, (0, 0)),
        (None, 2, True, (None, 1)),
        (1, None, True, (0, None)),
    ],
)
def test_this_node_is_none_of_the_others(seeds, peers, whole, left):
    found = of_others(sighting(Source.TRACKER, seeds, peers), whole=whole)
    assert (found.seeds, found.peers) == left


def test_no_looks_is_nothing_known():
    assert join([]) is None
    assert UNSEEN.copies(NOW) is None


@pytest.mark.parametrize(
    ("health", "copies"),
    [
        (seen(3), 3.0),
        (seen(3, settled=5.0), 5.0),
        (seen(None, 8), 4.0),  # peers that may be seeds count half
        (seen(None, None), None),
        (seen(8, looked=NOW - UNFADED), 8.0),
        (seen(8, looked=NOW - UNFADED - HALF_LIFE), 4.0),
        (seen(8, looked=NOW + timedelta(days=2)), 8.0),  # a clock that was wrong makes nothing of nothing
    ],
)
def test_copies(health, copies):
    assert health.copies(NOW) == (None if copies is None else pytest.approx(copies))


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (UNSEEN, None),
        (seen(1), True),
        (seen(0), False),
        (seen(None, 1), True),
        (seen(0, web_seeds_ok=1), True),
        (seen(0, upstream=Upstream.PRESENT), True),
        (seen(0, upstream=Upstream.UNKNOWN), None),  # nobody has tried the web seeds
        (seen(0, upstream=Upstream.UNKNOWN, web_seeds_ok=0), False),
        (seen(None), None),
    ],
)
def test_obtainable(health, expected):
    assert health.obtainable() is expected


@pytest.mark.parametrize(
    ("health", "danger"),
    [
        (UNSEEN, Danger.UNKNOWN),
        (seen(0), Danger.LOST),
        (seen(1), Danger.CRITICAL),
        (seen(0, upstream=Upstream.PRESENT), Danger.ENDANGERED),  # the Hub alone
        (seen(1, upstream=Upstream.PRESENT), Danger.ENDANGERED),
        (seen(3), Danger.ENDANGERED),
        (seen(4), Danger.THIN),
        (seen(2, upstream=Upstream.PRESENT, web_seeds_ok=1), Danger.THIN),
        (seen(8), Danger.WELL_KEPT),
        (seen(100, looked=NOW - 6 * HALF_LIFE), Danger.CRITICAL),
        (SwarmHealth(upstream=Upstream.PRESENT), Danger.UNKNOWN),  # nobody has looked for copies
        (SwarmHealth(upstream=Upstream.GONE, web_seeds_ok=0), Danger.UNKNOWN),
        (SwarmHealth(upstream=Upstream.PRESENT, web_seeds_ok=3), Danger.THIN),  # enough, whoever else has it
    ],
)
def test_danger(health, danger):
    assert danger_of(health, NOW) is danger


def test_the_order_is_from_worst_to_best_and_large_before_small():
    swarms = [UNSEEN, seen(0), seen(1), seen(2), seen(5), seen(30), seen(3, upstream=Upstream.PRESENT)]
    ordered = sorted(swarms, key=lambda one: danger_key(snapshot(1), 10, one, NOW))
    words = [danger_of(one, NOW) for one in ordered]
    assert words == sorted(words, key=list(Danger).index)
    assert danger_key(snapshot(1), 20, seen(1), NOW) < danger_key(snapshot(1), 10, seen(1), NOW)


def test_mirrors_beside_the_hub_count_a_little():
    hub = seen(0, upstream=Upstream.PRESENT, web_seeds_ok=1)
    assert expected_copies(hub, NOW) < expected_copies(seen(0, upstream=Upstream.PRESENT, web_seeds_ok=3), NOW) < 5
    assert expected_copies(seen(0, web_seeds_ok=32), NOW) == expected_copies(seen(0, web_seeds_ok=2), NOW)


@given(st.integers(0, 10**6), st.integers(0, 4000))
def test_copies_never_exceed_what_was_seen(seeds, days):
    copies = seen(seeds, looked=NOW - timedelta(days=days)).copies(NOW)
    assert 0 <= copies <= seeds


def days(*counts):
    """The last days' best counts, today's last."""
    return [Day(TODAY - timedelta(days=age), count, None) for age, count in enumerate(reversed(counts))]


@pytest.mark.parametrize(
    ("counts", "trend"),
    [
        ([], Trend.UNKNOWN),
        ([5] * 7, Trend.UNKNOWN),
        ([5] * 28, Trend.STEADY),
        ([5] * 21 + [6] * 7, Trend.RISING),
        ([20] * 21 + [22] * 7, Trend.STEADY),
        ([20] * 21 + [12] * 7, Trend.FALLING),
        ([2] * 21 + [1] * 7, Trend.FALLING),
        ([None] * 21 + [1] * 7, Trend.UNKNOWN),
    ],
)
def test_trend(counts, trend):
    assert trend_of(days(*counts), TODAY) is trend


def test_a_bad_evening_does_not_unsettle():
    assert settled_seeds(days(6, 6, 6, 6, 6, 6, 1), TODAY) == 6
    assert settled_seeds(days(9, 9, *[2] * 7), TODAY) == 2  # last week's are not this week's
    assert settled_seeds(days(None, None), TODAY) is None
