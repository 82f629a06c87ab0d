"""BEP 44 mutable items: a value of at most 1000 bytes under an Ed25519 key and a salt, signed with a sequence number.

An item's DHT target is SHA-1(public key + salt). Anybody who has seen an item can put it again exactly as it was
signed, so it may outlive its owner.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent import bencode
from p2pqwen.values.digest import Sha1

MAX_VALUE = 1000
MAX_SALT = 64
MAX_SEQUENCE = 2**63 - 1
MAX_STORED = 2048


@dataclass(frozen=True, slots=True)
class ItemAddress:
    """The key and the salt of an item; raises `FormatError` for a salt over 64 bytes."""

    public: PublicKey
    salt: bytes = b""

    def __post_init__(self) -> None:
        if len(self.salt) > MAX_SALT:
            raise FormatError("salt of a DHT item is too long", expected=f"at most {MAX_SALT}", got=len(self.salt))

    @property
    def target(self) -> Sha1:
        """Its target in the DHT."""
        return Sha1(hashlib.sha1(self.public.raw + self.salt).digest())  # noqa: S324 - BEP 44


@dataclass(frozen=True, slots=True)
class MutableItem:
    """An item with a valid signature; raises `VerificationError` for any other. `value` is bencoded."""

    address: ItemAddress
    sequence: int
    value: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _check_limits(self.sequence, self.value)
        if not self.address.public.verify(self.signature, signed_bytes(self.address.salt, self.sequence, self.value)):
            raise VerificationError("a DHT item is not signed by its key", got=self.address.public.raw.hex())

    def encode(self) -> bytes:
        """Return the item for a file, with the keys of BEP 44."""
        return bencode.encode(
            {
                b"k": self.address.public.raw,
                b"salt": self.address.salt,
                b"seq": self.sequence,
                b"sig": self.signature,
                b"v": self.value,
            }
        )


def sign_item(key: PrivateKey, salt: bytes, sequence: int, value: bytes) -> MutableItem:
    """Sign a bencoded value; raises `FormatError` if it is too long."""
    _check_limits(sequence, value)
    return MutableItem(ItemAddress(key.public, salt), sequence, value, key.sign(signed_bytes(salt, sequence, value)))


def parse_item(data: bytes) -> MutableItem:
    """Parse what `encode` wrote; raises `FormatError`, `VerificationError`."""
    row = bencode.decode_dict(data, max_bytes=MAX_STORED)
    key, salt, sequence, signature, value = (row.get(name) for name in (b"k", b"salt", b"seq", b"sig", b"v"))
    if not (
        isinstance(key, bytes)
        and isinstance(salt, bytes)
        and isinstance(sequence, int)
        and isinstance(signature, bytes)
        and isinstance(value, bytes)
    ):
        raise FormatError("a stored DHT item", expected="k, salt, seq, sig and v")
    return MutableItem(ItemAddress(PublicKey(key), salt), sequence, value, signature)


def signed_bytes(salt: bytes, sequence: int, value: bytes) -> bytes:
    """Return the bytes that BEP 44 signs: the inside of a bencoded dictionary."""
    salted = b"4:salt%d:%s" % (len(salt), salt) if salt else b""
    return salted + b"3:seqi%de1:v" % sequence + value


def _check_limits(sequence: int, value: bytes) -> None:
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise FormatError("sequence number of a DHT item", expected=f"0 to {MAX_SEQUENCE}", got=sequence)
    if len(value) > MAX_VALUE:
        raise FormatError("value of a DHT item is too long", expected=f"at most {MAX_VALUE} bytes", got=len(value))
