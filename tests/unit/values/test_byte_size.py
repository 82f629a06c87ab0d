import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import UsageError
from p2pqwen.values.byte_size import BareRateError, format_rate, format_size, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("5k", 5000),
        ("500GB", 500 * 10**9),
        ("500 gb", 500 * 10**9),
        ("1.5TiB", 3 * 2**39),
        ("2MiB", 2 * 2**20),
        (" 0.5 KiB ", 512),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "1e9", "1,5GB", "1.GB", ".5GB", "5XB", "5 G B", "٣GB", "inf", "9" * 20]
)
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "rate"), [("20MB/s", 20_000_000), ("20MB", 20_000_000), ("1 KiB/s", 1024), ("0", 0)])
def test_rates(text, rate):
    assert parse_rate(text) == rate


def test_what_is_no_rate():
    with pytest.raises(UsageError, match=r"not a rate, expected a number with a unit, such as 5MB/s, got 'fast/s'"):
        parse_rate("fast/s")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_995, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (2_340_000_000, "2.34 GB"),
        (5_000 * 10**12, "5000 TB"),
    ],
)
def test_printed(size, text):
    assert format_size(size) == text
    assert format_rate(size) == f"{text}/s"


@given(st.integers(0, 10**15))
def test_what_is_printed_is_near_what_it_was(size):
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(("text", "meant"), [("1", "1MB/s"), (" 2.5 ", "2.5MB/s"), ("999/s", "999MB/s")])
def test_a_small_rate_without_a_unit_is_asked_about(text, meant):
    with pytest.raises(BareRateError) as caught:
        parse_rate(text)
    assert caught.value.meant == meant
    assert meant in caught.value.hint


@pytest.mark.parametrize(("text", "rate"), [("0", 0), ("1B/s", 1), ("1000", 1000), ("0.0", 0)])
def test_what_else_is_a_rate_in_bytes(text, rate):
    assert parse_rate(text) == rate
