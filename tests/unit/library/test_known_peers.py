"""Addresses that answered before: the latest first, few of them, and never in the way."""

from __future__ import annotations

import json

import pytest

from p2pqwen.library.known_peers import MAX_DHT_NODES, MAX_PEERS, MAX_TORRENTS, KnownPeers

ONE, OTHER = b"1" * 20, b"2" * 20


@pytest.fixture
def known(tmp_path):
    return KnownPeers(tmp_path / "peers.json")


def test_nothing_is_known_at_first(known):
    assert known.dht_nodes() == []
    assert known.peers(ONE) == []


def test_the_latest_come_first(known):
    known.remember_peers(ONE, [("10.0.0.1", 1), ("10.0.0.2", 2)])
    known.remember_peers(OTHER, [("10.0.0.9", 9)])
    known.remember_peers(ONE, [("::1", 3), ("10.0.0.1", 1)])
    assert known.peers(ONE) == [("10.0.0.1", 1), ("::1", 3), ("10.0.0.2", 2)]
    assert known.peers(OTHER) == [("10.0.0.9", 9)]
    known.remember_dht_nodes([(ONE, ("10.0.0.1", 1)), (OTHER, ("10.0.0.2", 2))])
    known.remember_dht_nodes([(OTHER, ("10.0.0.1", 1))])
    assert known.dht_nodes() == [(OTHER, ("10.0.0.1", 1)), (OTHER, ("10.0.0.2", 2))]
    assert known.peers(OTHER) == [("10.0.0.9", 9)]


def test_there_are_never_too_many(known):
    known.remember_dht_nodes((ONE, ("10.0.0.1", port)) for port in range(1, 300))
    assert len(known.dht_nodes()) == MAX_DHT_NODES
    assert known.dht_nodes()[0] == (ONE, ("10.0.0.1", 299))
    known.remember_peers(ONE, [("10.0.0.1", port) for port in range(1, 100)])
    assert len(known.peers(ONE)) == MAX_PEERS
    path = known._path
    document = json.loads(path.read_text())
    document["torrents"] |= {f"{number:040x}": [["10.0.0.1", 1]] for number in range(MAX_TORRENTS)}
    path.write_text(json.dumps(document))
    known.remember_peers(OTHER, [("10.0.0.1", 1)])
    assert len(json.loads(path.read_text())["torrents"]) == MAX_TORRENTS
    assert known.peers(OTHER) == [("10.0.0.1", 1)]
    assert known.peers(ONE) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"dht": 1, "torrents": 2}',
        '{"dht": [1, ["zz", "10.0.0.1", 1]], "torrents": {"' + "31" * 20 + '": [["a host", 1], ["10.0.0.1", 0], 7]}}',
        "[" * 100_000,
    ],
)
def test_a_broken_file_is_an_empty_one(known, text):
    known._path.write_text(text)
    assert known.dht_nodes() == []
    assert known.peers(ONE) == []
    known.remember_peers(ONE, [("10.0.0.1", 1)])
    known.remember_dht_nodes([(ONE, ("10.0.0.1", 1))])
    assert known.peers(ONE) == [("10.0.0.1", 1)]
    assert known.dht_nodes() == [(ONE, ("10.0.0.1", 1))]


def test_remembering_nothing_writes_nothing(known):
    known.remember_peers(ONE, [])
    known.remember_dht_nodes([])
    assert not known._path.exists()
