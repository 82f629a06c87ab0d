"""KRPC (BEP 5): queries, replies and errors, bencoded, one datagram each; with `nodes6` (BEP 32), `ro` (BEP 43)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded

MAX_DATAGRAM = 8192
"""Bytes: 4 times a value of 1,000 bytes, keys, and 16 nodes of both families."""
MAX_NODES = 16
"""Nodes taken from one reply; BEP 5 sends 8."""
MAX_PEERS = 200
"""Peers taken from one reply."""
ID_SIZE = 20
METHOD_UNKNOWN = 204
CAS_MISMATCH = 301
SEQUENCE_TOO_LOW = 302
_CLIENT = b"PQ\x00\x01"
_COMPACT = {4: ID_SIZE + 6, 6: ID_SIZE + 18}


@dataclass(frozen=True, slots=True)
class Contact:
    """A DHT node: its id and where it answers."""

    id: bytes
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Reply:
    """A node's answer: the id that it claims, and the values of `r`."""

    transaction: bytes
    sender: bytes
    values: Mapping[bytes, Bencoded]

    def nodes(self, family: int) -> list[Contact]:
        """Return the closer nodes it names, of IP version 4 or 6; malformed ones are left out."""
        data = self.values.get(b"nodes" if family == 4 else b"nodes6")
        return list(compact_nodes(data, family))[:MAX_NODES] if isinstance(data, bytes) else []

    def peers(self) -> list[Endpoint]:
        """Return the peers it names (BEP 5 `values`, of 6 bytes, or 18 in BEP 32)."""
        rows = self.values.get(b"values")
        compact = [row for row in rows if isinstance(row, bytes)] if isinstance(rows, list) else []
        return [
            Endpoint(str(ipaddress.ip_address(row[:-2])), port)
            for row in compact[:MAX_PEERS]
            if len(row) in {6, 18} and (port := int.from_bytes(row[-2:]))
        ]

    def text(self, key: str, *, at_most: int) -> bytes | None:
        """Return a string value that is not too long, or None."""
        value = self.values.get(key.encode())
        return value if isinstance(value, bytes) and len(value) <= at_most else None


@dataclass(frozen=True, slots=True)
class Fault:
    """A node's error: a KRPC code and its text."""

    transaction: bytes
    code: int
    text: str


def encode_query(transaction: bytes, method: str, own_id: bytes, arguments: Mapping[bytes, Bencoded]) -> bytes:
    """Return the datagram of a query. `ro` (BEP 43) says that we do not answer queries."""
    return bencode.encode(
        {
            b"a": {b"id": own_id, **arguments},
            b"q": method.encode(),
            b"ro": 1,
            b"t": transaction,
            b"v": _CLIENT,
            b"y": b"q",
        }
    )


def parse_answer(data: bytes) -> Reply | Fault | None:
    """Read a datagram: a reply, an error, or None for a query, which we do not answer; raises `FormatError`."""
    message = bencode.decode_dict(data, max_bytes=MAX_DATAGRAM)
    transaction, kind = message.get(b"t"), message.get(b"y")
    if not isinstance(transaction, bytes):
        raise FormatError("a KRPC message without a transaction")
    if kind == b"r":
        return _reply(transaction, message.get(b"r"))
    if kind == b"e":
        return _fault(transaction, message.get(b"e"))
    return None


def compact_nodes(data: bytes, family: int) -> Iterator[Contact]:
    """Parse compact node info: 20 bytes of id, 4 or 16 of address, 2 of port."""
    size = _COMPACT[family]
    for at in range(0, len(data) - size + 1, size):
        row = data[at : at + size]
        port = int.from_bytes(row[-2:])
        if port:
            yield Contact(row[:ID_SIZE], Endpoint(str(ipaddress.ip_address(row[ID_SIZE:-2])), port))


def compact_node(contact: Contact) -> bytes:
    """Return compact node info."""
    address = ipaddress.ip_address(contact.endpoint.host)
    return contact.id + address.packed + contact.endpoint.port.to_bytes(2)


def distance(one: bytes, other: bytes) -> int:
    """Return the distance of two ids in the XOR metric."""
    return int.from_bytes(one) ^ int.from_bytes(other)


def _reply(transaction: bytes, values: Bencoded | None) -> Reply:
    sender = values.get(b"id") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(sender, bytes) or len(sender) != ID_SIZE:
        raise FormatError("a KRPC reply without its sender's id")
    return Reply(transaction, sender, values)


def _fault(transaction: bytes, row: Bencoded | None) -> Fault:
    match row:
        case [int() as code, bytes() as text, *_]:
            return Fault(transaction, code, text[:200].decode(errors="replace"))
    return Fault(transaction, 0, "")
