"""Bytes are booked to whom they came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.swarm.ledger import Connection, Ledger


def peer(key, received):
    return Connection(key, web_seed=False, received=received)


def web(key, received):
    return Connection(key, web_seed=True, received=received)


@pytest.mark.parametrize(
    ("looks", "payload", "expected"),
    [
        ([], 100, (100, 0)),  # nobody was seen, so nobody but peers could have come and gone
        ([[peer("a", 60)], [peer("a", 100)]], 100, (100, 0)),
        ([[web("w", 100)]], 100, (0, 100)),
        ([[peer("a", 50), web("w", 50)]], 100, (50, 50)),
        ([[peer("a", 50)], []], 80, (80, 0)),  # the end of a connection was missed
        ([[web("w", 50)], []], 80, (0, 80)),
        ([[peer("a", 30), web("w", 10)], []], 80, (60, 20)),  # in proportion
        ([[peer("a", 50)], [], [peer("a", 20)]], 70, (70, 0)),  # the same peer came back
        ([[peer("a", 50)], [peer("a", 20)]], 70, (70, 0)),  # and was never seen missing
    ],
)
def test_split(looks, payload, expected):
    ledger = Ledger()
    for connections in looks:
        ledger.look(connections)
    assert ledger.split(payload) == expected


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 10**9)), max_size=4), max_size=6),
    st.integers(0, 10**12),
)
def test_the_parts_always_make_the_whole(looks, payload):
    ledger = Ledger()
    for look in looks:
        ledger.look([Connection((key, is_web), is_web, received) for key, is_web, received in look])
    peers, from_web = ledger.split(payload)
    assert peers + from_web == payload
    assert min(peers, from_web) >= 0
