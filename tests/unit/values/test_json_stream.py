"""A document that is read in pieces says what it says when it is read whole, and is refused where that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.values.json_stream import JsonStream
from p2pqwen.values.strict_json import MAX_INTEGER, canonical, canonical_of_parsed, parse_object

LIMIT = 1 << 16


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def walked(data: bytes, size: int) -> dict[str, Any]:
    """An object of which every list is read item by item."""
    stream = JsonStream(pieces(data, size), max_bytes=1 << 20, max_value=LIMIT, max_values=1000)
    found: dict[str, Any] = {}
    for name in stream.members():
        found[name] = list(stream.items()) if stream.is_list() else stream.value()
    stream.end()
    return found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=6), st.integers(1, 9), st.booleans(), st.booleans())
def test_it_says_the_same_in_pieces_of_any_size(value, size, pretty, escaped):
    data = json.dumps(value, indent=2 if pretty else None, ensure_ascii=escaped).encode()
    assert walked(data, size) == parse_object(data, max_bytes=1 << 20) == value
    assert canonical_of_parsed(walked(data, size)) == canonical(value)


@given(
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    st.integers(0, 60),
    st.binary(max_size=3),
    st.integers(0, 3),
    st.integers(1, 7),
)
def test_damage_is_refused_alike(value, at, put, drop, size):
    data = json.dumps(value).encode()
    damaged = data[:at] + put + data[at + drop :]
    try:
        whole = parse_object(damaged, max_bytes=1 << 20)
    except FormatError:
        with pytest.raises(FormatError):
            walked(damaged, size)
    else:
        assert walked(damaged, size) == whole


REFUSED = {
    "repeated key": b'{"a": 1, "a": 2}',
    "repeated key, escaped": b'{"a": 1, "\\u0061": 2}',
    "repeated key inside": b'{"a": {"b": 1, "b": 2}}',
    "repeated key in an item": b'{"a": [{"b": 1, "b": 2}]}',
    "float": b'{"a": 1.0}',
    "float that is cut": b'{"a": 1' + b"0" * 5 + b".5}",
    "integer out of range": b'{"a": 9007199254740992}',
    "not a number": b'{"a": [NaN]}',
    "lone surrogate": b'{"a": ["\\ud800"]}',
    "lone surrogate in a key": b'{"\\ud800": 1}',
    "control character": b'{"a": "\x01"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-8 that is cut": b'{"a": "\xc3',
    "no comma": b'{"a": 1 "b": 2}',
    "comma at the end": b'{"a": 1,}',
    "comma at the end of a list": b'{"a": [1,]}',
    "comma first": b'{"a": [,1]}',
    "no colon": b'{"a" 1}',
    "key of another kind": b"{1: 2}",
    "list": b"[]",
    "nothing": b"",
    "cut in a list": b'{"a": [1, 2',
    "cut in a value": b'{"a": {"b": 1',
    "more behind": b"{} {}",
    "depth": b'{"a": ' + b"[" * 16 + b"]" * 16 + b"}",
    "much depth": b'{"a": ' + b"[" * 10_000,
    "a value too large": b'{"a": {"b": "' + b"x" * LIMIT + b'"}}',
    "an item too large": b'{"a": [{"b": "' + b"x" * LIMIT + b'"}]}',
    "a value that never ends": b'{"a": {"b": "' + b"x" * (1 << 18),
    "too many values": b'{"a": {"b": [' + b"0," * 2000 + b"0]}}",
    "too large": b'{"a": [' + b"0," * (1 << 20),
}


@pytest.mark.parametrize("size", [1, 3, 1 << 16])
@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_refused(data, size):
    if len(data) > 5000:
        size = max(size, 997)
    with pytest.raises(FormatError):
        walked(data, size)


def test_depth_counts_from_the_outside():
    assert walked(b'{"a": ' + b"[" * 15 + b"]" * 15 + b"}", 7)


def test_what_is_read_is_not_kept():
    """A list of any length takes the memory of an item and a piece."""
    many = (b'{"a": [0', *(b',"' + b"x" * 1000 + b'"' for _ in range(5000)), b"]}")
    stream = JsonStream(iter(many), max_bytes=1 << 30, max_value=LIMIT, max_values=10)
    assert next(stream.members()) == "a"
    largest = 0
    for _ in stream.items():
        largest = max(largest, len(stream._text))
    assert largest < 1 << 18
