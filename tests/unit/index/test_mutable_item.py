"""BEP 44 items: the vectors of the BEP itself, and every way not to be an item."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.index.mutable_item import ItemAddress, MutableItem, parse_item, sign_item, signed_bytes
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent import bencode
from tests.support.publishing import key

# "Test vectors" of BEP 44.
VALUE = b"12:Hello World!"
PUBLIC = PublicKey(bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"))
PLAIN_TARGET = "4a533d47ec9c7d95b1ad75f576cffc641853b750"
PLAIN_SIGNATURE = (
    "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
)
SALTED_TARGET = "411eba73b6f087ca51a3795d9c8c938d365e32c1"
SALTED_SIGNATURE = (
    "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
)


@pytest.mark.parametrize(
    ("salt", "target", "signature", "buffer"),
    [
        (b"", PLAIN_TARGET, PLAIN_SIGNATURE, b"3:seqi1e1:v12:Hello World!"),
        (b"foobar", SALTED_TARGET, SALTED_SIGNATURE, b"4:salt6:foobar3:seqi1e1:v12:Hello World!"),
    ],
    ids=["plain", "salted"],
)
def test_the_vectors_of_bep_44(salt, target, signature, buffer):
    item = MutableItem(ItemAddress(PUBLIC, salt), 1, VALUE, bytes.fromhex(signature))
    assert str(item.address.target) == target
    assert signed_bytes(salt, 1, VALUE) == buffer
    assert parse_item(item.encode()) == item


def test_the_address_is_of_key_and_salt():
    assert ItemAddress(PUBLIC, b"a").target.raw == hashlib.sha1(PUBLIC.raw + b"a").digest()


@given(st.binary(max_size=64), st.integers(0, 2**63 - 1), st.binary(max_size=900))
def test_what_is_signed_is_read_again(salt, sequence, value):
    item = sign_item(key("dht"), salt, sequence, bencode.encode(value))
    assert parse_item(item.encode()) == item


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {b"seq": row[b"seq"] + 1},
        lambda row: row | {b"v": b"1:x"},
        lambda row: row | {b"salt": b"other"},
        lambda row: row | {b"k": key("other").public.raw},
        lambda row: row | {b"sig": bytes(64)},
        lambda row: row | {b"sig": row[b"sig"][:63]},
        lambda row: row | {b"sig": row[b"sig"] + b"\0"},
    ],
)
def test_a_changed_item_is_no_item(change):
    row = bencode.decode_dict(sign_item(key("dht"), b"salt", 7, b"i1e").encode(), max_bytes=4096)
    with pytest.raises(VerificationError):
        parse_item(bencode.encode(change(row)))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {b"seq": -1},
        lambda row: row | {b"seq": b"7"},
        lambda row: row | {b"v": bytes(1001)},
        lambda row: row | {b"salt": bytes(65)},
        lambda row: row | {b"k": bytes(32)},
        lambda row: row | {b"k": b"short"},
        lambda row: {name: value for name, value in row.items() if name != b"sig"},
    ],
)
def test_what_breaks_a_limit_is_refused(change):
    row = bencode.decode_dict(sign_item(key("dht"), b"salt", 7, b"i1e").encode(), max_bytes=4096)
    with pytest.raises(FormatError):
        parse_item(bencode.encode(change(row)))


def test_a_value_that_is_too_long_is_not_signed():
    with pytest.raises(FormatError, match="too long"):
        sign_item(key("dht"), b"", 1, bencode.encode(bytes(1000)))
