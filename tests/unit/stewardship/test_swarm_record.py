"""What is remembered of a swarm: bounded, newest first, and a copy once seen is not forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.swarm_health import Sighting, Source, Trend
from p2pqwen.stewardship.swarm_record import HISTORY_DAYS, NEVER_SEEN, WebSeedLook, health_of, remember
from tests.unit.stewardship.samples import NOW

DAY = timedelta(days=1)


def look(source, seeds, peers=None, at=NOW, **more):
    return Sighting(at, source, seeds, seeds if peers is None else peers, **more)


def after(*rounds):
    record = NEVER_SEEN
    for sightings in rounds:
        record = remember(record, sightings)
    return record


def test_nothing_seen_is_nothing_known():
    health = health_of(NEVER_SEEN, Upstream.GONE, NOW)
    assert (health.seeds, health.peers, health.copies(NOW), health.last_complete_seen) == (None, None, None, None)
    assert remember(NEVER_SEEN, []) == NEVER_SEEN


def test_a_source_that_is_silent_keeps_its_last_word_for_a_while():
    hours = timedelta(hours=1)
    early = [look(Source.TRACKER, 9, at=NOW - 5 * hours)]
    late = [look(Source.CONNECTIONS, 1)]
    assert health_of(after(early, late), Upstream.UNKNOWN, NOW).seeds == 9  # what we see alone is less than all
    stale = [look(Source.TRACKER, 9, at=NOW - 30 * hours)]
    assert health_of(after(stale, late), Upstream.UNKNOWN, NOW).seeds == 1


def test_a_newer_word_of_one_source_replaces_the_older():
    record = after([look(Source.DHT, 9, at=NOW - 2 * DAY)], [look(Source.DHT, 2)])
    health = health_of(record, Upstream.UNKNOWN, NOW)
    assert health.seeds == 2
    assert health.settled == 5.5  # the median of two days


def test_the_last_whole_copy_is_remembered_when_there_is_none():
    record = after([look(Source.TRACKER, 1, at=NOW - 40 * DAY)], [look(Source.TRACKER, 0, 3)])
    assert record.last_complete_seen == NOW - 40 * DAY
    assert health_of(record, Upstream.GONE, NOW).seeds == 0


def test_the_best_look_of_each_day_and_no_more_days_than_allowed():
    rounds = [[look(Source.TRACKER, day % 7, at=NOW - day * DAY)] for day in reversed(range(300))]
    record = after(*rounds, [look(Source.DHT, 50)], [look(Source.DHT, 4)])
    assert len(record.days) == HISTORY_DAYS
    assert [one.day for one in record.days] == sorted(one.day for one in record.days)
    assert record.days[-1].seeds == 50
    assert len(record.sightings) <= len(Source)


@pytest.mark.parametrize(
    ("daily", "trend"),
    [([8] * 21 + [2] * 7, Trend.FALLING), ([2] * 21 + [8] * 7, Trend.RISING), ([3] * 28, Trend.STEADY)],
)
def test_a_trend(daily, trend):
    rounds = [[look(Source.TRACKER, seeds, at=NOW - (27 - day) * DAY)] for day, seeds in enumerate(daily)]
    assert health_of(after(*rounds), Upstream.UNKNOWN, NOW).trend is trend


@pytest.mark.parametrize(
    ("sighting", "estimated"),
    [
        (look(Source.TRACKER, 3), False),
        (look(Source.DHT, 3, estimated=True), True),
        (look(Source.DHT, None, 8, estimated=True), True),
        (look(Source.TRACKER, None, 4), True),  # somebody's half
    ],
)
def test_estimates_are_called_that(sighting, estimated):
    assert health_of(after([sighting]), Upstream.UNKNOWN, NOW).estimated is estimated


def test_web_seeds():
    record = remember(NEVER_SEEN, [], WebSeedLook(NOW, 3, 2))
    assert health_of(record, Upstream.UNKNOWN, NOW).web_seeds_ok == 2
    assert remember(record, [look(Source.DHT, 1)]).web == record.web
