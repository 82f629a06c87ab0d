"""Pointers and publisher links: what is written is read again, and nothing else is."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import Position
from p2pqwen.index.mutable_item import MAX_VALUE, ItemAddress
from p2pqwen.index.pointer import Pointer, parse_pointer
from p2pqwen.index.publisher_link import PublisherLink, is_publisher_link, parse_publisher_link
from p2pqwen.torrent import bencode
from p2pqwen.values.digest import Sha1, Sha256
from tests.strategies import sha1s, sha256s
from tests.support.publishing import key

NUMBERS = st.integers(0, 2**53 - 1)
POINTER = Pointer(Sha1(b"1" * 20), Sha256(b"2" * 32), Position(1, 7), Sha256(b"3" * 32))


@given(st.builds(Pointer, sha1s, st.none() | sha256s, st.builds(Position, NUMBERS, NUMBERS), sha256s))
def test_a_pointer_is_read_as_it_was_written(pointer):
    assert parse_pointer(pointer.encode()) == pointer
    assert len(pointer.encode()) < MAX_VALUE


def test_a_pointer_is_a_bep_46_value():
    row = bencode.decode_dict(POINTER.encode(), max_bytes=MAX_VALUE)
    assert row == {b"ih": b"1" * 20, b"ih2": b"2" * 32, b"epoch": 1, b"version": 7, b"sha256": b"3" * 32}


def test_unknown_keys_are_passed_over():
    row = bencode.decode_dict(POINTER.encode(), max_bytes=MAX_VALUE)
    assert parse_pointer(bencode.encode(row | {b"later": [1, b"x"]})) == POINTER


@pytest.mark.parametrize(
    "change",
    [
        {b"ih": b"1" * 19},
        {b"ih": 1},
        {b"ih2": b"2" * 20},
        {b"epoch": -1},
        {b"version": b"7"},
        {b"version": 2**53},
        {b"sha256": b""},
    ],
)
def test_a_broken_pointer_is_refused(change):
    row = bencode.decode_dict(POINTER.encode(), max_bytes=MAX_VALUE)
    with pytest.raises(FormatError):
        parse_pointer(bencode.encode(row | change))


@pytest.mark.parametrize("value", [b"", b"i1e", b"le", b"d2:ih20:" + b"x" * 20 + b"e", b"d1:a" * 400])
def test_what_is_no_pointer_is_refused(value):
    with pytest.raises(FormatError):
        parse_pointer(value)


@given(st.binary(max_size=64), st.none() | sha256s)
def test_a_link_is_read_as_it_was_written(salt, publisher):
    link = PublisherLink(ItemAddress(key("dht").public, salt), publisher)
    assert is_publisher_link(str(link))
    assert parse_publisher_link(str(link)) == link
    for pasted in (str(link).replace("&", "&amp;"), quote(str(link), safe=""), f"<{link}&tr=a&tr=b&xs=http://x/>"):
        assert is_publisher_link(pasted)
        assert parse_publisher_link(pasted) == link


def test_the_form_of_bep_46():
    public = key("dht").public
    link = parse_publisher_link(f"magnet:?xs=urn:btpk:{public.raw.hex().upper()}&s=6e&dn=anything")
    assert link == PublisherLink(ItemAddress(public, b"n"), None)


@pytest.mark.parametrize(
    "text",
    [
        "magnet:?xt=urn:btih:" + "a" * 40,
        "magnet:?xs=urn:btpk:",
        "magnet:?xs=urn:btpk:" + "0" * 64,
        "magnet:?xs=urn:btpk:" + "zz" * 32,
        f"magnet:?xs=urn:btpk:{key('dht').public.raw.hex()}&s=abc",
        f"magnet:?xs=urn:btpk:{key('dht').public.raw.hex()}&s=" + "00" * 65,
        f"magnet:?xs=urn:btpk:{key('dht').public.raw.hex()}&s=00&s=01",
        f"magnet:?xs=urn:btpk:{key('dht').public.raw.hex()}&x.publisher=00",
        "https://example.org/",
        "x" * 5000,
    ],
)
def test_what_is_no_link_is_refused(text):
    with pytest.raises(FormatError):
        parse_publisher_link(text)
