"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from p2pqwen.errors import UsageError
from p2pqwen.values.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", timedelta(seconds=30)),
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        (" 7 d ", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_lengths(text, length):
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "24", "h", "0h", "-1h", "1.5h", "1y", "24 hours", "3651d", "9999999999s", "٣h"])
def test_what_is_none(text):
    with pytest.raises(UsageError):
        parse_duration(text)
