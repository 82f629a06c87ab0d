"""Behaviours of hostile peers, by name; each function makes a fresh one."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent import bencode
from tests.simulators.peer import (
    BITFIELD,
    BLOCK,
    EXTENDED,
    HASHES,
    HAVE,
    PIECE,
    UNCHOKE,
    UT_METADATA,
    Behaviour,
    Request,
    message,
)

OVERSIZED = 1 << 31


def corrupt(_request: Request, block: bytes) -> bytes:
    return bytes([block[0] ^ 1]) + block[1:]


def corrupt_one_in_four(request: Request, block: bytes) -> bytes:
    return corrupt(request, block) if request.begin // BLOCK % 4 == 1 else block


def corrupt_last_byte(_request: Request, block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 0x80])


def good_at_first(request: Request, block: bytes) -> bytes:
    return block if request.number < 20 else corrupt(request, block)


def never(_request: Request, _block: bytes) -> None:
    return None


def stall_half_way(request: Request, block: bytes) -> bytes | None:
    return block if request.number < 40 else None


def lose_every_third(request: Request, block: bytes) -> bytes | None:
    return None if request.number % 3 == 2 else block


LIARS: Mapping[str, Behaviour] = {
    # They send wrong data, for which they are banned.
    "corrupt": Behaviour(answer=corrupt),
    "corrupt, v2": Behaviour(answer=corrupt, version_2=True),
    "corrupt one block in four": Behaviour(answer=corrupt_one_in_four),
    "corrupt one block in four, v2": Behaviour(answer=corrupt_one_in_four, version_2=True),
    "corrupt the last byte": Behaviour(answer=corrupt_last_byte),
    "zeros": Behaviour(answer=lambda _, block: bytes(len(block))),
    "backwards": Behaviour(answer=lambda _, block: block[::-1]),
    "good at first": Behaviour(answer=good_at_first),
    "good at first, v2": Behaviour(answer=good_at_first, version_2=True),
}
SLUGGARDS: Mapping[str, Behaviour] = {
    # They promise everything and give little or nothing.
    "stall": Behaviour(answer=never),
    "stall, v2": Behaviour(answer=never, version_2=True),
    "stall half way": Behaviour(answer=stall_half_way),
    "lose every third": Behaviour(answer=lose_every_third),
    "drip": Behaviour(drip=0.05),
    "never unchoke": Behaviour(unchoke=False),
    "choke and unchoke": Behaviour(chokes_after=1),
    "silent": Behaviour(silent=True),
    "leave at once": Behaviour(leave="connect"),
    "leave after the handshake": Behaviour(leave="handshake"),
    "leave when asked": Behaviour(leave="request"),
    "has nothing": Behaviour(bitfield=bytes(1)),
}
GARBAGE: Mapping[str, Behaviour] = {
    # They do not follow the protocol.
    "http": Behaviour(greeting=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "noise": Behaviour(greeting=bytes(range(256)) * 200),
    "another torrent": Behaviour(infohash=b"\x17" * 20),
    "noise after the handshake": Behaviour(after_handshake=bytes(range(255, 0, -1)) * 100),
    "endless message": Behaviour(after_handshake=struct.pack("!I", 0xFFFFFFFF) + bytes(100_000)),
    "negative length": Behaviour(after_handshake=struct.pack("!i", -1)),
    "keep alives": Behaviour(after_handshake=bytes(4 * 50_000)),
    "have beyond the end": Behaviour(after_handshake=message(HAVE, struct.pack("!I", 0x7FFFFFFF))),
    "have of a negative piece": Behaviour(after_handshake=message(HAVE, struct.pack("!i", -1))),
    "haves without end": Behaviour(after_handshake=message(HAVE, struct.pack("!I", 0)) * 20_000),
    "bitfield too short": Behaviour(bitfield=b"\xff"),
    "bitfield too long": Behaviour(bitfield=b"\xff" * 5000),
    "second bitfield": Behaviour(after_handshake=message(BITFIELD, b"\0\0")),
    "unasked blocks": Behaviour(after_handshake=message(PIECE, struct.pack("!II", 0, 0) + bytes(BLOCK)) * 20),
    "blocks out of range": Behaviour(after_handshake=message(PIECE, struct.pack("!II", 1 << 30, 5) + bytes(BLOCK))),
    "blocks too long": Behaviour(answer=lambda _, block: block + bytes(1000)),
    "blocks too short": Behaviour(answer=lambda _, block: block[:100]),
    "unknown messages": Behaviour(after_handshake=b"".join(message(number, bytes(50)) for number in range(30, 250))),
    "chokes without end": Behaviour(after_handshake=message(UNCHOKE) * 20_000),
    "extension handshake of noise": Behaviour(extension_handshake=b"\xff" * 1000),
    "extension handshake, deep": Behaviour(extension_handshake=b"l" * 20_000 + b"e" * 20_000),
    "extension handshake, wrong types": Behaviour(
        extension_handshake=bencode.encode({b"m": [b"ut_metadata"], b"metadata_size": b"big", b"reqq": -5, b"v": 7})
    ),
    "extension numbers out of range": Behaviour(
        extension_handshake=bencode.encode({b"m": {b"ut_metadata": 300, b"ut_pex": -1}, b"reqq": 1 << 40})
    ),
    "hashes that are wrong": Behaviour(version_2=True, hashes=lambda asked: message(HASHES, asked + b"\xaa" * 32 * 8)),
    "hashes nobody asked for": Behaviour(version_2=True, after_handshake=message(HASHES, bytes(48) + bytes(32 * 64))),
}
METADATA: Mapping[str, Behaviour] = {
    # They lie about the info dictionary (BEP 9).
    "wrong": Behaviour(metadata=lambda _, part: bytes([part[0]]) + bytes(len(part) - 1)),
    "wrong, v2": Behaviour(metadata=lambda _, part: part[::-1], version_2=True),
    "too large to be true": Behaviour(metadata_size=OVERSIZED - 1),
    "beyond 32 bits": Behaviour(metadata_size=1 << 40),
    "negative": Behaviour(metadata_size=-1),
    "zero": Behaviour(metadata_size=0),
    "just within the limit": Behaviour(metadata_size=60 << 20, metadata=lambda _, __: b"\0" * BLOCK),
    "one byte more": Behaviour(metadata=lambda _, part: part + b"x"),
    "never": Behaviour(metadata=lambda _, __: None),
    "refused": Behaviour(
        after_handshake=message(EXTENDED, bytes([UT_METADATA]) + bencode.encode({b"msg_type": 2, b"piece": 0})),
        metadata=lambda _, __: None,
    ),
    "parts nobody asked for": Behaviour(
        after_handshake=message(
            EXTENDED,
            bytes([UT_METADATA])
            + bencode.encode({b"msg_type": 1, b"piece": 1 << 20, b"total_size": OVERSIZED - 1})
            + bytes(BLOCK),
        )
    ),
    "a bomb": Behaviour(after_handshake=message(EXTENDED, bytes([UT_METADATA]) + b"d8:msg_type" + b"l" * 60_000)),
}
ALL: Mapping[str, Behaviour] = {
    **LIARS,
    **SLUGGARDS,
    **GARBAGE,
    **{f"metadata: {name}": one for name, one in METADATA.items()},
}


def leading_to(victims: list[Endpoint]) -> Behaviour:
    """Return a peer that names others to connect to (BEP 11) and gives nothing itself."""
    return Behaviour(pex=tuple(victims), answer=never)
