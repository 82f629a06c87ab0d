"""Which HTTP answers bring the bytes that were asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from p2pqwen.values.byte_range import parse_range
from p2pqwen.webseed.fault import Kind, UpstreamError
from p2pqwen.webseed.http_answer import Part, Wanted, read_answer

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SIZE = 100_000_000
MIDDLE = Wanted("model.safetensors", SIZE, 50_000_000, 60_000_000)
START = Wanted("model.safetensors", SIZE, 0, 10_000_000)
RANGE = "bytes 50000000-59999999/100000000"


def answer(wanted, status, **headers):
    return read_answer(wanted, status, {key.replace("_", "-"): value for key, value in headers.items()}, now=NOW)


@pytest.mark.parametrize(
    ("wanted", "status", "headers", "expected"),
    [
        (MIDDLE, 206, {"Content_Range": RANGE, "Content_Length": "10000000"}, Part(50_000_000, 60_000_000)),
        (MIDDLE, 206, {"Content_Range": RANGE}, Part(50_000_000, 60_000_000)),
        (MIDDLE, 206, {"Content_Range": "bytes 50000000-50999999/*"}, Part(50_000_000, 51_000_000)),
        (START, 200, {"Content_Length": "100000000"}, Part(0, SIZE)),
        (START, 200, {"Content_Length": "100000000", "Content_Type": "text/html"}, Part(0, SIZE)),
        (START, 200, {}, Part(0, SIZE)),
        (START, 200, {"Content_Encoding": "identity"}, Part(0, SIZE)),
        (Wanted("a", SIZE, 50_000_000, SIZE, skip_any=True), 200, {}, Part(0, SIZE)),
        (Wanted("page.html", 9, 0, 9), 200, {"Content_Type": "text/html"}, Part(0, 9)),
    ],
)
def test_what_is_taken(wanted, status, headers, expected):
    assert answer(wanted, status, **headers) == expected


@pytest.mark.parametrize(
    ("wanted", "status", "headers", "kind", "words"),
    [
        (MIDDLE, 206, {"Content_Range": "bytes 50000000-59999999/99999999"}, Kind.UNFIT, "file of 99999999 bytes"),
        (MIDDLE, 206, {"Content_Range": "bytes 0-9999999/100000000"}, Kind.UNFIT, "where 50000000-59999999 were asked"),
        (MIDDLE, 206, {"Content_Range": "bytes 50000000-60000000/100000000"}, Kind.UNFIT, "were asked"),
        (MIDDLE, 206, {"Content_Range": RANGE, "Content_Length": "5"}, Kind.UNFIT, "were asked"),
        (MIDDLE, 206, {}, Kind.UNFIT, "without a Content-Range"),
        (MIDDLE, 206, {"Content_Range": "bytes 5-1/100000000"}, Kind.UNFIT, "bytes 5-1"),
        (MIDDLE, 200, {"Content_Length": "100000000"}, Kind.NO_RANGES, "the whole file"),
        (START, 200, {"Content_Length": "1234"}, Kind.UNFIT, "a file of 1234 bytes"),
        (START, 200, {"Content_Length": "1234", "Content_Type": "text/html; charset=utf-8"}, Kind.UNFIT, "HTML page"),
        (START, 200, {"Content_Type": "text/html"}, Kind.UNFIT, "HTML page"),
        (START, 200, {"Content_Encoding": "gzip"}, Kind.UNFIT, "encoded"),
        (START, 206, {"Content_Range": RANGE, "Content_Encoding": "br"}, Kind.UNFIT, "encoded"),
        (START, 404, {}, Kind.ABSENT, "404"),
        (START, 410, {}, Kind.ABSENT, "410"),
        (START, 401, {}, Kind.REFUSED, "401"),
        (START, 403, {}, Kind.REFUSED, "403"),
        (START, 416, {}, Kind.UNFIT, "shorter"),
        (START, 429, {"Retry_After": "7"}, Kind.BUSY, "429"),
        (START, 503, {}, Kind.BUSY, "503"),
        (START, 500, {}, Kind.BROKEN, "500"),
        (START, 204, {}, Kind.UNFIT, "204"),
        (START, 304, {}, Kind.UNFIT, "304"),
    ],
)
def test_what_is_refused(wanted, status, headers, kind, words):
    with pytest.raises(UpstreamError, match=words) as caught:
        answer(wanted, status, **headers)
    assert caught.value.kind is kind


def test_the_wait_that_was_asked_for_is_kept():
    with pytest.raises(UpstreamError) as caught:
        answer(START, 429, Retry_After="7")
    assert caught.value.wait == 7.0


@pytest.mark.parametrize(
    ("header", "size", "expected", "single"),
    [
        (None, 10, range(10), False),
        ("bytes=0-3", 10, range(4), True),
        ("bytes=4-", 10, range(4, 10), True),
        ("bytes=-3", 10, range(7, 10), True),
        ("bytes=-30", 10, range(10), True),
        ("bytes=8-99", 10, range(8, 10), True),
        ("bytes=10-", 10, None, True),
        ("bytes=-0", 10, None, True),
        ("bytes=0-", 0, None, True),
        ("bytes=5-2", 10, range(10), False),
        ("bytes=0-1,4-5", 10, range(10), False),
        ("bytes=-", 10, range(10), False),
        ("lines=0-1", 10, range(10), False),
        ("bytes=" + "9" * 30 + "-", 10, range(10), False),
    ],
)
def test_a_requests_range(header, size, expected, single):
    found = parse_range(header, size)
    assert (None if found is None else found.offsets) == expected
    assert found is None or found.partial is single
