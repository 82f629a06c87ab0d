"""Packs that unfold to too much, or to nonsense, are refused before they are unfolded whole."""

from __future__ import annotations

import zlib
from io import BytesIO

import pytest
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import Blob
from dulwich.pack import write_pack_objects
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.hub.pack_limits import MAX_OBJECT_BYTES, check_pack

BLOB, OFS_DELTA, REF_DELTA = 3, 6, 7


def number(value):
    """Seven bits a byte, least significant first."""
    parts = bytearray()
    while True:
        parts.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(parts)


def entry(kind, claimed, content, base=b""):
    first, rest = kind << 4 | claimed & 15, claimed >> 4
    header = bytes([first | (0x80 if rest else 0)]) + (number(rest) if rest else b"")
    return header + base + zlib.compress(content)


def pack(*entries, count=None):
    return (
        b"PACK"
        + (2).to_bytes(4, "big")
        + (len(entries) if count is None else count).to_bytes(4, "big")
        + b"".join(entries)
        + bytes(20)
    )


HELLO = entry(BLOB, 5, b"hello")
DELTA = number(5) + number(5) + b"\x05world"

GOOD = {
    "one blob": pack(HELLO),
    "nothing": pack(),
    "an offset delta": pack(HELLO, entry(OFS_DELTA, len(DELTA), DELTA, bytes([len(HELLO)]))),
    "a reference delta": pack(HELLO, entry(REF_DELTA, len(DELTA), DELTA, bytes(20))),
}

BAD = {
    "not a pack": b"<html>" + bytes(40),
    "too many objects": pack(HELLO, count=10_000_000),
    "fewer objects than it says": pack(HELLO, count=3),
    "longer than it says": pack(entry(BLOB, 5, bytes(1_000_000))),
    "shorter than it says": pack(entry(BLOB, 500, b"hello")),
    "says it is huge": pack(entry(BLOB, MAX_OBJECT_BYTES + 1, b"")),
    "a delta that unfolds to a terabyte": pack(
        HELLO, entry(REF_DELTA, 9, number(5) + number(1 << 40) + b"\x05wo"[:2], bytes(20))
    ),
    "many large objects": pack(*[entry(BLOB, MAX_OBJECT_BYTES, bytes(MAX_OBJECT_BYTES))] * 9),
    "cut in the header": b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big"),
    "cut in the stream": pack(HELLO)[:15],
}


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name):
    check_pack(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    with pytest.raises(FormatError):
        check_pack(BAD[name])


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_packs_that_dulwich_writes_pass(contents):
    out = BytesIO()
    write_pack_objects(out, [(Blob.from_string(content), None) for content in contents], DEFAULT_OBJECT_FORMAT)
    check_pack(out.getvalue())


@given(st.binary(max_size=400), st.integers(0, 3))
def test_junk_is_refused_or_passes_but_never_crashes(junk, count):
    try:
        check_pack(b"PACK\0\0\0\2" + count.to_bytes(4, "big") + junk)
    except FormatError:
        return
    assert count * 2 <= len(junk)
