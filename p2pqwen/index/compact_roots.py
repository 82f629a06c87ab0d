"""A chain of roots, bencoded to fit into a DHT item; each root's RFC 8785 form can be rebuilt from it.

A root is a dictionary. If it has only the fields of SPEC section 6, it is

    {"k": [<public key>, <label>, …], "n": <name>, "r": [<threshold>, <number of a key>, …], "i": the same for the index
     role, "e": <index epoch> unless 0}

Its version and `previous` follow from its place. Any other root is {"d": <RFC 8785 form>}. Both have signatures,
"s": [<number of a key>, <signature>, …]. Keys are numbered in the order of their keyids; in "s", the previous root's
keys follow the root's own.

Decoding checks no hashes or signatures: `accept_roots` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from p2pqwen.errors import FormatError
from p2pqwen.index.root import INDEX_ROLE, ROOT_ROLE, ROOT_TYPE, Role, Root, RootKey, SignedRoot, parse_root
from p2pqwen.index.root import root_document as make_document
from p2pqwen.signing.envelope import signature_row, valid_signatures
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject, parse_object

MAX_CHAIN = 8192
"""The most bytes of a chain; a single signed root may have more, and then does not fit."""
_MAX_ROOT_VALUES = 10_000


def encode_roots(roots: Sequence[SignedRoot], room: int = MAX_CHAIN) -> bytes:
    """Return the longest prefix of a chain from root 1 that fits into `room` bytes; `le` if root 1 does not fit."""
    rows: list[Bencoded] = []
    before: Root | None = None
    left = room - len(bencode.encode([]))
    for signed in roots:
        row = _row(signed, before)
        left -= len(bencode.encode(row))
        if left < 0:
            break
        rows.append(row)
        before = signed.root
    return bencode.encode(rows)


def decode_roots(data: bytes) -> tuple[SignedRoot, ...]:
    """Parse what `encode_roots` wrote, root 1 first, without judging it. Raises `FormatError`."""
    rows = bencode.decode(data, max_bytes=MAX_CHAIN)
    if not isinstance(rows, list):
        raise FormatError("a chain of roots", expected="a list")
    found: list[SignedRoot] = []
    for row in rows:
        found.append(_signed_root(row, found[-1].root if found else None))
    return tuple(found)


def _row(signed: SignedRoot, before: Root | None) -> dict[bytes, Bencoded]:
    root = signed.root
    row = _compact(root)
    if parse_root(_document(row, before)).payload != root.payload:  # it has unknown fields
        row = {b"d": root.payload}
    return row | {b"s": _signatures(signed, before)}


def _compact(root: Root) -> dict[bytes, Bencoded]:
    keys = _in_order(root)
    row: dict[bytes, Bencoded] = {
        b"i": _role(root.roles[INDEX_ROLE], keys),
        b"k": [part for keyid in keys for part in (root.keys[keyid].public.raw, root.keys[keyid].label.encode())],
        b"n": root.name.encode(),
        b"r": _role(root.roles[ROOT_ROLE], keys),
    }
    return row | ({b"e": root.index_epoch} if root.index_epoch else {})


def _role(role: Role, keys: Sequence[Sha256]) -> list[Bencoded]:
    return [role.threshold, *(keys.index(keyid) for keyid in role.keyids)]


def _signatures(signed: SignedRoot, before: Root | None) -> list[Bencoded]:
    """Return as many valid signatures as both thresholds need."""
    root = signed.root
    numbers = _signers(root, before)
    good = valid_signatures(ROOT_TYPE, root.payload, signed.signatures, dict(numbers))
    needed: dict[Sha256, None] = {}
    for judge in (root, *([before] if before is not None else [])):
        role = judge.roles[ROOT_ROLE]
        needed.update(dict.fromkeys([keyid for keyid in role.keyids if keyid in good][: role.threshold]))
    order = list(dict(numbers))
    return [part for keyid in needed for part in (order.index(keyid), good[keyid])]


def _signers(root: Root, before: Root | None) -> list[tuple[Sha256, PublicKey]]:
    """Return the keys that may sign a root, each once, in the order of their numbers."""
    judges = (root, *([before] if before is not None else []))
    keys = {keyid: judge.keys[keyid].public for judge in judges for keyid in _in_order(judge)}
    return list(keys.items())


def _in_order(root: Root) -> list[Sha256]:
    return sorted(root.keys, key=lambda keyid: keyid.raw)


def _signed_root(row: Bencoded, before: Root | None) -> SignedRoot:
    if not isinstance(row, dict):
        raise FormatError("a root of a chain", expected="a dictionary")
    whole = row.get(b"d")
    if isinstance(whole, bytes):
        root = parse_root(parse_object(whole, max_bytes=MAX_CHAIN, max_values=_MAX_ROOT_VALUES))
    else:
        root = parse_root(_document(row, before))
    order = _signers(root, before)
    signatures = []
    for number, signature in _pairs(row, b"s"):
        if not isinstance(number, int) or not 0 <= number < len(order) or not isinstance(signature, bytes):
            raise FormatError("a signature of a root", expected="the number of a key, and bytes")
        signatures.append(signature_row(order[number][0], signature))
    return SignedRoot(root, list(signatures))


def _document(row: Mapping[bytes, Bencoded], before: Root | None) -> JsonObject:
    keys: dict[Sha256, RootKey] = {}
    for public, label in _pairs(row, b"k"):
        if not isinstance(public, bytes):
            raise FormatError("a key of a root", expected="bytes")
        one = PublicKey(public)
        keys[one.keyid] = RootKey(one, _text(label))
    order = sorted(keys, key=lambda keyid: keyid.raw)
    epoch = row.get(b"e", 0)
    if not isinstance(epoch, int):
        raise FormatError("the index epoch of a root", expected="a number")
    return make_document(
        version=1 if before is None else before.version + 1,
        previous=None if before is None else before.digest,
        name=_text(row.get(b"n")),
        keys=keys,
        roles={ROOT_ROLE: _read_role(row, b"r", order), INDEX_ROLE: _read_role(row, b"i", order)},
        index_epoch=epoch,
    )


def _read_role(row: Mapping[bytes, Bencoded], name: bytes, keys: Sequence[Sha256]) -> Role:
    numbers = row.get(name)
    if not isinstance(numbers, list) or not numbers or not all(isinstance(one, int) for one in numbers):
        raise FormatError("a role of a root", expected="a threshold and the numbers of keys")
    threshold, *rest = cast("list[int]", numbers)
    if not all(0 <= one < len(keys) for one in rest):
        raise FormatError("a role of a root names a key it does not hold")
    return Role(tuple(keys[one] for one in rest), threshold)


def _pairs(row: Mapping[bytes, Bencoded], name: bytes) -> Iterator[tuple[Bencoded, Bencoded]]:
    values = row.get(name)
    if not isinstance(values, list) or len(values) % 2:
        raise FormatError("a root of a chain", expected=f"pairs in {name.decode()!r}")
    return zip(values[::2], values[1::2], strict=True)


def _text(value: Bencoded | None) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else ""
    except UnicodeDecodeError as error:
        raise FormatError("text of a root is not UTF-8") from error
