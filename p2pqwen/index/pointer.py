"""The pointer: a small mutable DHT item that names the newest index and the torrent that carries it.

    {"ih": <v1 infohash of the bundle>, "ih2": <its v2 infohash>,            `ih` as in BEP 46
     "epoch": 0, "version": 7, "sha256": <SHA-256 of JCS(signed index)>}

It is signed by one key, without a threshold, so it is only a hint: the rules of acceptance judge what it leads to. It
is followed because its key is in one of the publisher's roots, never because of what it claims.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import Position
from p2pqwen.index.mutable_item import MAX_VALUE
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha1, Sha256

DEFAULT_SALT = "p2pqwen"


@dataclass(frozen=True, slots=True)
class Pointer:
    """An index, and the bundle torrent that carries it. `infohash_v2` is None in a plain BEP 46 item."""

    infohash_v1: Sha1
    infohash_v2: Sha256 | None
    position: Position
    digest: Sha256

    @classmethod
    def to_bundle(cls, infohash: InfoHash, position: Position, digest: Sha256) -> Pointer:
        """Return the pointer to an index's bundle."""
        return cls(infohash.v1, infohash.v2, position, digest)

    def encode(self) -> bytes:
        """Return the value of the item."""
        value: dict[bytes, Bencoded] = {
            b"epoch": self.position.epoch,
            b"ih": self.infohash_v1.raw,
            b"sha256": self.digest.raw,
            b"version": self.position.version,
        }
        if self.infohash_v2 is not None:
            value[b"ih2"] = self.infohash_v2.raw
        return bencode.encode(value)


def parse_pointer(value: bytes) -> Pointer:
    """Parse a value; unknown keys are ignored. Raises `FormatError`."""
    row = bencode.decode_dict(value, max_bytes=MAX_VALUE)
    v2 = row.get(b"ih2")
    return Pointer(
        Sha1(_bytes(row, b"ih")),
        None if v2 is None else Sha256(_bytes(row, b"ih2")),
        Position(_number(row, b"epoch"), _number(row, b"version")),
        Sha256(_bytes(row, b"sha256")),
    )


def _bytes(row: dict[bytes, Bencoded], key: bytes) -> bytes:
    value = row.get(key)
    if not isinstance(value, bytes):
        raise FormatError(f"pointer's `{key.decode()}`", expected="bytes", got=type(value).__name__)
    return value


def _number(row: dict[bytes, Bencoded], key: bytes) -> int:
    value = row.get(key)
    if not isinstance(value, int) or not 0 <= value < 2**53:
        raise FormatError(f"pointer's `{key.decode()}`", expected="a number", got=repr(value)[:40])
    return value
