"""How long signed URLs hold, and when servers want us back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.values.rate_limit import LONGEST_WAIT, quota_pause, retry_after
from p2pqwen.webseed.url_expiry import lifetime

NOW = datetime(2026, 11, 23, 21, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Date=20261123T205900Z&X-Amz-Expires=3600&X-Amz-Signature=ab", 3540.0),
        ("x-amz-date=20261123T210000Z&x-amz-expires=2", 2.0),
        ("X-Amz-Date=20261123T190000Z&X-Amz-Expires=60", 0.0),
        ("X-Goog-Date=20261123T210000Z&X-Goog-Expires=300", 300.0),
        (f"Expires={EPOCH + 90}&Signature=ab&Key-Pair-Id=k", 90.0),
        ("sv=2022&se=2026-11-23T21:05:00Z&sig=ab", 300.0),
        ("sv=2022&se=2026-11-23T21:05:00Z", None),
        ("X-Amz-Expires=3600", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20261123T210000Z&X-Amz-Expires=-5", None),
        ("X-Amz-Date=20261123T210000Z&X-Amz-Expires=999999999", 30 * 86400.0),
        ("Expires=soon", None),
        ("", None),
    ],
)
def test_lifetime_from_the_query(query, expected):
    assert lifetime(f"https://cdn.example/f?{query}", now=NOW) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("max-age=30", 30.0), ("private, max-age=5", 5.0), ("no-store", None), ("s-max-age=9", None), ("", None)],
)
def test_lifetime_from_cache_control(header, expected):
    assert lifetime("https://cdn.example/f", now=NOW, cache_control=header) == expected


@given(st.text(max_size=80))
def test_no_query_breaks_it(query):
    assert (lifetime("https://cdn.example/f?" + query, now=NOW) or 0) >= 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0), (" 0 ", 0.0), ("Mon, 23 Nov 2026 21:01:00 GMT", 60.0), ("Mon, 23 Nov 2026 20:00:00 GMT", 0.0),
        ("99999999999999999999", LONGEST_WAIT), ("-1", None), ("1.5", None), ("soon", None), ("", None), ("٣", None),
    ],
)  # fmt: skip
def test_retry_after(value, expected):
    assert retry_after({"Retry-After": value}, now=NOW) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"RateLimit": '"resolvers";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=2;t=9, "resolvers";t=7;r=0'}, 7.0),
        ({"RateLimit": '"resolvers";r=2999;t=172'}, None),
        ({"RateLimit": '"resolvers";r=0'}, None),
        ({"RateLimit": "nonsense"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "12"}, 12.0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795467600"}, None),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "12"}, None),
        ({}, None),
    ],
)
def test_a_quota_that_is_used_up(headers, expected):
    assert quota_pause(headers) == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_it(first, second):
    quota_pause({"RateLimit": first, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": second})
    retry_after({"Retry-After": first}, now=NOW)
