"""BEP 33's filters: the estimate of the text's own example, and what a lone liar can do: nothing."""

from __future__ import annotations

import pytest

from p2pqwen.swarm.bloom import FILTER_SIZE, estimate, join
from tests.simulators.dht_node import bloom_of

EMPTY = bytes(FILTER_SIZE)
LIES = b"\xff" * FILTER_SIZE


def addresses(count, prefix="192.0.2"):
    return [f"{prefix}.{number}" for number in range(count)]


def test_the_example_of_the_text():
    found = bloom_of([*addresses(256), *(f"2001:db8::{number:x}" for number in range(0x3E8))])
    assert found.hex().upper().startswith("F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE")
    assert estimate(found) == pytest.approx(1224.9308, abs=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 30, 200])
def test_an_estimate_is_near(count):
    assert estimate(bloom_of(addresses(count))) == pytest.approx(count, rel=0.12, abs=0.2)


def test_a_full_filter_is_no_number_without_end():
    assert 7000 < estimate(LIES) < 8000


@pytest.mark.parametrize(
    ("filters", "about"),
    [
        ([], None),
        ([b"short"], None),
        ([bloom_of(addresses(5))], 5),
        ([bloom_of(addresses(5)), bloom_of(addresses(5))], 5),
        ([bloom_of(addresses(5)), bloom_of(addresses(5)), LIES], 5),
        ([EMPTY, LIES], 0),  # one alone says so
        ([bloom_of(addresses(4)), bloom_of(addresses(8)), bloom_of(addresses(6))], 6),
    ],
)
def test_a_bit_counts_once_two_nodes_have_it(filters, about):
    found = join(filters)
    assert (
        (found is None) if about is None else estimate(found) == pytest.approx(about, abs=0.6)
    )  # two of them share a bit
