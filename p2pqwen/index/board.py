"""The notice board: how a reader that knows only a publisher id finds the publisher's pointers.

A board is a mutable DHT item under a key that is derived from the publisher id. So anybody who knows the id can write
it, and being there proves nothing. It therefore carries its own proof: the chain of roots, whose root 1 hashes to the
publisher id, and the addresses of pointers. An address counts if its key is in that chain; a pointer found there is
signed by that key. An address without such proof is never followed.

    {"a": [[<public key>, <salt>], …], "r": <the chain, see `compact_roots`>}      if the chain fits into the item
    {"a": …, "h": <20-byte targets, concatenated>}                                 otherwise

With "h", the chain's bytes are cut into immutable items (BEP 44), whose targets are the SHA-1 of their values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import TrustedState, accept_roots
from p2pqwen.index.compact_roots import decode_roots, encode_roots
from p2pqwen.index.mutable_item import MAX_VALUE, ItemAddress
from p2pqwen.index.root import INDEX_ROLE, SignedRoot
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.values.digest import Sha1, Sha256

BOARD_SLOTS = 4
"""The boards of one publisher: an attacker must keep overwriting all of them."""
MAX_BOARD_KEYS = 4
MAX_PARTS = 6
"""The most items for a chain: each is a lookup, and anybody can name them."""
PART_SIZE = 996
"""Bytes of a part: with its length prefix, it has `MAX_VALUE` bytes."""
_BOARD_SEED = b"p2pqwen notice board 2\n"
_TARGET_SIZE = 20


@dataclass(frozen=True, slots=True)
class Board:
    """An unjudged board: addresses of pointers, and a chain of roots or the targets of its parts."""

    addresses: tuple[ItemAddress, ...]
    chain: bytes | None = None
    parts: tuple[Sha1, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A board to put: its item's value, the number of roots it shows, the values of the immutable items it names."""

    value: bytes
    roots: int
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Vouched:
    """The authority of a key: the version of the newest root that holds it, and whether it may sign the index."""

    root_version: int
    signs_index: bool


def board_key(publisher: Sha256) -> PrivateKey:
    """Return the key of a publisher's notice boards; it is not secret: anybody who knows the id can derive it."""
    return PrivateKey.from_seed(hashlib.sha256(_BOARD_SEED + publisher.raw).digest())


def board_address(publisher: Sha256, slot: int) -> ItemAddress:
    """Return the address of one of the boards."""
    return ItemAddress(board_key(publisher).public, board_salt(slot))


def board_salt(slot: int) -> bytes:
    """Return the salt of one of the boards."""
    return b"p2pqwen-%d" % slot


def board_notice(addresses: Sequence[ItemAddress], roots: Sequence[SignedRoot]) -> Notice:
    """Return the board for these addresses, the best first, and as much of this chain from root 1 as fits."""
    named: list[Bencoded] = [[one.public.raw, one.salt] for one in addresses[:MAX_BOARD_KEYS]]
    chain = encode_roots(roots, MAX_PARTS * PART_SIZE)
    shown = len(decode_roots(chain))
    value = bencode.encode({b"a": named, b"r": bencode.decode(chain, max_bytes=len(chain))})
    if len(value) <= MAX_VALUE:
        return Notice(value, shown)
    parts = tuple(bencode.encode(chain[at : at + PART_SIZE]) for at in range(0, len(chain), PART_SIZE))
    targets = b"".join(immutable_target(part).raw for part in parts)
    return Notice(bencode.encode({b"a": named, b"h": targets}), shown, parts)


def parse_board(value: bytes) -> Board:
    """Parse a board; unknown keys are ignored. Raises `FormatError`."""
    row = bencode.decode_dict(value, max_bytes=MAX_VALUE)
    rows = row.get(b"a")
    if not isinstance(rows, list):
        raise FormatError("a notice board", expected="a list of keys and salts")
    addresses = tuple(_address(one) for one in rows[:MAX_BOARD_KEYS])
    roots, targets = row.get(b"r"), row.get(b"h", b"")
    if isinstance(roots, list):
        return Board(addresses, bencode.encode(roots))
    if not isinstance(targets, bytes) or len(targets) % _TARGET_SIZE or len(targets) > MAX_PARTS * _TARGET_SIZE:
        raise FormatError("the parts of a notice board", expected=f"at most {MAX_PARTS} targets")
    starts = range(0, len(targets), _TARGET_SIZE)
    return Board(addresses, None, tuple(Sha1(targets[at : at + _TARGET_SIZE]) for at in starts))


def join_parts(values: Sequence[bytes]) -> bytes:
    """Return the bytes of a chain from the values of its immutable items; raises `FormatError`."""
    parts = [bencode.decode(value, max_bytes=MAX_VALUE) for value in values]
    if not all(isinstance(part, bytes) for part in parts):
        raise FormatError("a part of a notice board", expected="bytes")
    return b"".join(part for part in parts if isinstance(part, bytes))


def immutable_target(value: bytes) -> Sha1:
    """Return the DHT target of an immutable item; `value` is bencoded."""
    return Sha1(hashlib.sha1(value).digest())  # noqa: S324 - BEP 44; trust comes from root 1 and signatures


def vouching_roots(chain: bytes, publisher: Sha256, known: Sequence[SignedRoot] = ()) -> tuple[SignedRoot, ...]:
    """Return the roots of a board if they are the publisher's, by steps 2 and 3 of acceptance.

    `known` are roots already trusted. Raises `FormatError`, `RefusedError`.
    """
    roots = decode_roots(chain)
    if not roots:
        raise FormatError("a notice board without a root")
    return accept_roots(roots, TrustedState(publisher, tuple(known)))


def vouched_keys(roots: Sequence[SignedRoot]) -> dict[PublicKey, Vouched]:
    """Return every key of a chain of roots with its authority: pointers by keys of older roots still lead somewhere."""
    return {
        key.public: Vouched(signed.root.version, keyid in signed.root.roles[INDEX_ROLE].keyids)
        for signed in roots
        for keyid, key in signed.root.keys.items()
    }


def _address(row: Bencoded) -> ItemAddress:
    match row:
        case [bytes() as key, bytes() as salt]:
            return ItemAddress(PublicKey(key), salt)
    raise FormatError("a row of a notice board", expected="a key and a salt")
