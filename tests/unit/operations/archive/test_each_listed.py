"""What trusted indexes list, each snapshot once, without a list of all of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.archive.watched import each_listed, listed_of
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha1
from tests.support.publishing import NOW, Publisher, Rules, chain, make_entry


def publisher(name, entries):
    made = Publisher(chain(Rules(root=(f"root {name}",), index=(f"index {name}",))))
    data = made.publish(entries, signers=(f"index {name}",))
    accepted = accept(data, TrustedState(None), NOW)
    return TrustedPublisher(made.id, (), accepted.state, accepted)


def entry(number, days=0, v1=b"1"):
    made = make_entry(number, f"Org/Model-{number // 2}")
    later = replace(made, added=NOW + timedelta(days=days))
    if v1 == b"1":
        return later
    infohash = InfoHash(Sha1(hashlib.sha1(v1).digest()), made.infohash.v2)
    magnet = made.magnet.replace(str(made.infohash.v1), str(infohash.v1))
    return replace(later, infohash=infohash, magnet=magnet)


def test_an_index_alone_is_gone_through_as_it_stands():
    listed = [entry(number) for number in range(5)]
    found = list(each_listed([publisher("a", listed)]))
    assert {one.id for one in found} == {one.id for one in listed}
    assert len(found) == 5


@pytest.mark.parametrize(("first", "second", "wins"), [(0, 1, "b"), (1, 0, "a"), (0, 0, "b")])
def test_of_one_snapshot_the_last_word_counts(first, second, wins):
    one, other = entry(3, first), entry(3, second, v1=b"other")
    found = list(each_listed([publisher("a", [entry(1), one]), publisher("b", [entry(2), other, entry(4)])]))
    assert len(found) == len({row.id for row in found}) == 4
    (chosen,) = [row for row in found if row.id == one.id]
    assert chosen.infohash == (one if wins == "a" else other).infohash


def test_nothing_is_listed_by_nobody():
    assert list(each_listed([])) == []


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (0, 0)])
def test_a_few_are_those_that_all_would_be_and_the_others_are_not_gone_through(first, second, monkeypatch):
    publishers = [
        publisher("a", [entry(1), entry(3, first)]),
        publisher("b", [entry(2), entry(3, second, v1=b"other"), entry(4)]),
    ]
    every = {one.id: one for one in each_listed(publishers)}
    wanted = [entry(4).id, entry(3).id, entry(9).id]
    monkeypatch.setattr("p2pqwen.operations.archive.watched.each_listed", None)
    assert list(listed_of(publishers, wanted)) == [every[entry(3).id], every[entry(4).id]]
    assert list(listed_of([], wanted)) == []
