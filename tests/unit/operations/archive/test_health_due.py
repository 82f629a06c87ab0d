"""Who is looked at next: the longest unseen, and nobody for ever only because nobody answers for them."""

from __future__ import annotations

from datetime import timedelta

from p2pqwen.operations.archive.health import due
from p2pqwen.operations.archive.watched import WatchedSwarm
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import SwarmRecord, WebSeedLook
from p2pqwen.torrent.infohash import InfoHash
from tests.unit.stewardship.samples import NOW, snapshot

HOUR = timedelta(hours=1)


def watched(number):
    return WatchedSwarm(snapshot(number), InfoHash.of(b"%d" % number), 1)


def look(hours, source=Source.TRACKER):
    return Sighting(NOW - hours * HOUR, source, 1, 1)


def numbers(swarms):
    return [int(one.snapshot.repo.name.removeprefix("Model-")) for one in swarms]


def test_the_longest_unseen_first_and_the_freshly_seen_not_at_all():
    records = {
        snapshot(1): SwarmRecord((look(3),)),
        snapshot(2): SwarmRecord((look(0.5),)),
        snapshot(3): SwarmRecord((look(9),)),
        snapshot(5): SwarmRecord((look(0.1, Source.CONNECTIONS),)),  # what we see ourselves asks nobody
        snapshot(6): SwarmRecord(web=WebSeedLook(NOW, 1, 1)),
    }
    every = [watched(number) for number in range(1, 7)]
    assert numbers(due(every, records, NOW, HOUR)) == [4, 5, 3, 1]
    assert set(numbers(due(every, records, NOW, timedelta(0)))) == set(range(1, 7))


def test_no_more_than_are_wanted_and_those_are_the_first_of_all():
    records = {snapshot(number): SwarmRecord((look(number),)) for number in range(1, 9)}
    every = [watched(number) for number in range(1, 10)]
    assert numbers(due(every, records, NOW, timedelta(0), most=3)) == [9, 8, 7]
    assert numbers(due(every, records, NOW, timedelta(0), most=99)) == numbers(due(every, records, NOW, timedelta(0)))


def test_who_never_answers_waits_for_a_turn_like_all_others():
    every = [watched(number) for number in range(1, 4)]
    asked = {snapshot(1): NOW, snapshot(2): NOW - 5 * HOUR}
    assert numbers(due(every, {}, NOW, HOUR, asked)) == [3, 2]
