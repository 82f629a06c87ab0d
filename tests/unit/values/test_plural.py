"""Numbers in words."""

from __future__ import annotations

import pytest

from p2pqwen.values.plural import grouped, plural


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_only_one_is_singular(number, text):
    assert plural(number, "file") == text


@pytest.mark.parametrize(
    ("number", "phrase"), [(1, "1 model"), (999, "999 models"), (1000, "1,000 models"), (1234567, "1,234,567 models")]
)
def test_large_numbers_of_a_heading_are_grouped(number, phrase):
    assert grouped(number, "model") == phrase
