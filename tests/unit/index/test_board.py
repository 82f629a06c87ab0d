"""Notice boards and the chains of roots they carry: what is written is read again, and only what vouches counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import RefusedError
from p2pqwen.index.board import (
    BOARD_SLOTS,
    MAX_BOARD_KEYS,
    MAX_PARTS,
    PART_SIZE,
    Vouched,
    board_address,
    board_key,
    board_notice,
    board_salt,
    immutable_target,
    join_parts,
    parse_board,
    vouched_keys,
    vouching_roots,
)
from p2pqwen.index.compact_roots import MAX_CHAIN, decode_roots, encode_roots
from p2pqwen.index.mutable_item import MAX_VALUE, ItemAddress, sign_item
from p2pqwen.index.root import SignedRoot
from p2pqwen.torrent import bencode
from p2pqwen.values.digest import Sha256
from tests.support.publishing import Rules, chain, key, make_root, sign_root

PUBLISHER = Sha256.of(b"a publisher")
ADDRESS = ItemAddress(key("index").public, b"p2pqwen")
TWO_OF_THREE = Rules(root=("a", "b", "c"), root_threshold=2, index=("d", "e", "f"), index_threshold=2)
NAMES = st.sampled_from([f"key {number}" for number in range(12)])
RULES = st.builds(
    lambda root, index, epoch: Rules(tuple(root), 1 + len(root) // 2, tuple(index), 1 + len(index) // 2, epoch),
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.integers(0, 3),
)


def payloads(roots):
    return [signed.root.payload for signed in roots]


def test_a_board_is_where_everybody_with_the_id_finds_it():
    slots = [board_address(PUBLISHER, slot) for slot in range(BOARD_SLOTS)]
    assert len({one.target for one in slots}) == BOARD_SLOTS
    assert {one.public for one in slots} == {board_key(PUBLISHER).public}
    assert board_address(Sha256.of(b"another"), 0).target != slots[0].target
    notice = board_notice([ADDRESS], chain(Rules()))
    item = sign_item(board_key(PUBLISHER), board_salt(1), 3, notice.value)
    assert item.address == slots[1]
    assert parse_board(item.value).addresses == (ADDRESS,)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(RULES, min_size=1, max_size=6))
def test_a_chain_of_roots_is_read_as_it_was_written_and_judged_as_ever(rules):
    epochs = sorted(one.epoch for one in rules)
    roots = chain(*(replace(one, epoch=epoch) for one, epoch in zip(rules, epochs, strict=True)))
    publisher = roots[0].root.digest
    data = encode_roots(roots)
    assert len(data) <= MAX_CHAIN
    shown = vouching_roots(data, publisher)
    assert payloads(shown) == payloads(roots)[: len(shown)]
    assert encode_roots(shown) == data
    notice = board_notice([ADDRESS], roots)
    board = parse_board(notice.value)
    assert len(notice.value) <= MAX_VALUE
    assert all(len(part) <= MAX_VALUE for part in notice.parts)
    assert board.parts == tuple(map(immutable_target, notice.parts))
    whole = board.chain if board.chain is not None else join_parts(notice.parts)
    assert payloads(vouching_roots(whole, publisher)) == payloads(roots)[: notice.roots]


def test_one_key_fits_into_the_item_and_a_large_chain_stands_behind_its_hash():
    small, large = board_notice([ADDRESS], chain(Rules())), board_notice([ADDRESS], chain(*[TWO_OF_THREE] * 4))
    assert (small.parts, small.roots) == ((), 1)
    assert (len(large.parts), large.roots) == (2, 4)
    endless = board_notice([ADDRESS], chain(*[TWO_OF_THREE] * 40))
    assert 0 < endless.roots < 40  # its beginning vouches for the keys in it
    assert sum(map(len, endless.parts)) <= MAX_PARTS * (PART_SIZE + 4)


def test_a_root_with_more_in_it_than_we_know_is_carried_whole():
    root = make_root(Rules(), later={"field": [1, None]})
    signed = sign_root(root, ["root"])
    (shown,) = vouching_roots(encode_roots([signed]), root.digest)
    assert shown.root.payload == root.payload


def test_signatures_of_strangers_are_left_out():
    (signed,) = chain(Rules())
    noisy = SignedRoot(signed.root, [*sign_root(signed.root, ["stranger", "index"]).signatures, *signed.signatures, 7])
    assert encode_roots([noisy]) == encode_roots([signed])


def test_85_nobody_else_can_write_a_chain_that_counts():
    roots = chain(Rules(), Rules(index=("next",)))
    publisher = roots[0].root.digest
    mine = chain(Rules(root=("stranger",), index=("stranger",)))
    unsigned = SignedRoot(roots[1].root, [])
    thief = sign_root(make_root(Rules(root=("stranger",), index=("stranger",)), roots[0].root), ["stranger"])
    for forged in (mine, (roots[0], unsigned), (roots[0], thief)):
        with pytest.raises(RefusedError):
            vouching_roots(encode_roots(forged), publisher)
    with pytest.raises(FormatError):
        vouching_roots(encode_roots([]), publisher)
    assert payloads(vouching_roots(encode_roots(roots), publisher, roots[:1])) == payloads(roots)


def test_the_newest_root_and_the_keys_of_the_index_come_first():
    roots = chain(Rules(), Rules(index=("next",)))
    keys = vouched_keys(roots)
    order = sorted(("root", "index", "next"), key=lambda name: keys[key(name).public], reverse=True)
    assert order == ["next", "root", "index"]
    assert keys[key("next").public] == Vouched(2, signs_index=True)
    assert key("stranger").public not in keys


def test_a_board_names_few_keys():
    many = [ItemAddress(key("dht").public, b"%d" % number) for number in range(10)]
    assert len(parse_board(board_notice(many, chain(Rules())).value).addresses) == MAX_BOARD_KEYS
    rows = [[one.public.raw, one.salt] for one in many]
    assert len(parse_board(bencode.encode({b"a": rows, b"r": []})).addresses) == MAX_BOARD_KEYS


@pytest.mark.parametrize(
    "value",
    [
        b"i1e",
        b"le",
        b"de",
        b"d1:al1:aee",
        b"d1:all32:" + bytes(32) + b"0:eee",
        b"d1:alli1e0:eee",
        b"d1:ale1:h3:abce",
        b"d1:ale1:h140:" + bytes(140) + b"e",
        b"d1:ale1:hi7ee",
    ],
)
def test_a_broken_board_is_refused(value):
    with pytest.raises(FormatError):
        parse_board(value)


ROW = bencode.decode(encode_roots(chain(Rules())), max_bytes=MAX_CHAIN)[0]


@pytest.mark.parametrize(
    "change",
    [
        {b"k": [b"short", b"label"]},
        {b"k": ROW[b"k"][:3]},
        {b"k": [1, b"label"]},
        {b"k": []},
        {b"n": b"\xff"},
        {b"n": 1},
        {b"r": []},
        {b"r": [1]},
        {b"r": [1, 9]},
        {b"r": [1, -1]},
        {b"r": [b"1", 0]},
        {b"r": [2, 0]},
        {b"e": b"1"},
        {b"e": -1},
        {b"s": [0]},
        {b"s": [9, b""]},
        {b"s": [-1, b""]},
        {b"s": [0, 1]},
        {b"s": 1},
        {b"d": b"{}"},
        {b"d": b"[" * 400},
    ],
)
def test_a_broken_root_is_refused(change):
    with pytest.raises(FormatError):
        decode_roots(bencode.encode([ROW | change]))


@pytest.mark.parametrize("value", [b"", b"i1e", b"li1ee", b"de", b"l" * 200 + b"e" * 200])
def test_what_is_no_chain_is_refused(value):
    with pytest.raises(FormatError):
        decode_roots(value)


@pytest.mark.parametrize("part", [b"i1e", b"le", b"3:ab"])
def test_what_is_no_part_of_a_chain_is_refused(part):
    with pytest.raises(FormatError):
        join_parts([part])
