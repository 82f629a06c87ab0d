"""RFC 9110, section 14: what is asked for, and what a server may answer."""

from __future__ import annotations

import pytest

from p2pqwen.values.byte_range import ByteRange, parse_range

WHOLE = ByteRange(0, 100, 100, partial=False)

CASES = [
    (None, WHOLE),
    ("", WHOLE),
    ("bytes=0-9", ByteRange(0, 10, 100, partial=True)),
    ("bytes=90-", ByteRange(90, 100, 100, partial=True)),
    ("bytes=90-1000", ByteRange(90, 100, 100, partial=True)),
    ("bytes=-10", ByteRange(90, 100, 100, partial=True)),
    ("bytes=-1000", ByteRange(0, 100, 100, partial=True)),
    ("bytes=100-", None),
    ("bytes=100-200", None),
    ("bytes=-0", None),
    ("bytes=9-0", WHOLE),
    ("bytes=0-1,5-6", WHOLE),
    ("bytes=-", WHOLE),
    ("lines=0-9", WHOLE),
    ("bytes=a-b", WHOLE),
]


@pytest.mark.parametrize(("header", "expected"), CASES)
def test_range_header(header, expected):
    assert parse_range(header, 100) == expected


def test_content_range_names_the_last_byte():
    found = parse_range("bytes=10-19", 100)
    assert found is not None
    assert found.content_range == "bytes 10-19/100"
