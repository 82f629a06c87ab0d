"""Times in HTTP fields: what no clock shows is no time, and raises nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.values.http_date import parse_http_date
from p2pqwen.values.rate_limit import LONGEST_WAIT, retry_after

NOW = datetime(2026, 11, 23, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 23 Nov 2026 21:00:00 GMT", NOW),
        ("Mon, 23 Nov 2026 22:00:00 +0100", NOW),
        ("Mon, 23 Nov 2026 21:00:00 -0000", NOW),
        ("", None),
        ("tomorrow", None),
        ("32 Nov 2026 21:00:00 GMT", None),
        ("23 Nov 1926 21:00:00 GMT", None),
        ("31 Dec 9999 23:59:59 -1400", None),
        ("1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("1 Jan 2026 00:00:00 +9999999", None),
        ("\ud800", None),
    ],
)
def test_168_dates(text, expected):
    found = parse_http_date(text)
    assert found == expected
    assert found is None or found.utcoffset() == timedelta(0)


def test_168_a_wait_until_then_is_none():
    assert retry_after({"Retry-After": "1 Jan 99999999999999999999 00:00:00 GMT"}, now=NOW) is None
    assert retry_after({"Retry-After": "1 Jan 8999 00:00:00 GMT"}, now=NOW) == LONGEST_WAIT
