"""Resume data is what was written, or nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.swarm.resume_data import unwrap, wrap


@given(st.binary(max_size=500))
def test_what_was_wrapped_comes_back(data):
    assert unwrap(wrap(data)) == data


@given(st.binary(max_size=200), st.data())
def test_every_flipped_bit_is_noticed(data, draw):
    wrapped = bytearray(wrap(data))
    bit = draw.draw(st.integers(0, 8 * len(wrapped) - 1))
    wrapped[bit // 8] ^= 1 << bit % 8
    assert unwrap(bytes(wrapped)) is None


@given(st.binary(max_size=200), st.data())
def test_every_cut_and_every_addition_is_noticed(data, draw):
    wrapped = wrap(data)
    assert unwrap(wrapped[: draw.draw(st.integers(0, len(wrapped) - 1))]) is None
    assert unwrap(wrapped + b"x") is None


@given(st.binary(max_size=300))
def test_anything_else_is_nothing(data):
    assert unwrap(data) is None
