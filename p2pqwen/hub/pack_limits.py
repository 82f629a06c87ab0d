"""A bound on the inflated size of a git pack, checked before anything is inflated as a whole (gitformat-pack(5)).

A few kilobytes can name gigabytes, in a zlib stream or in a delta that copies the same bytes over and over.
"""

from __future__ import annotations

import zlib

from p2pqwen.errors import FormatError

MAX_OBJECT_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 512 * 1024 * 1024
MAX_OBJECTS = 300_000
_OFS_DELTA, _REF_DELTA = 6, 7
_OID_BYTES = 20
_HEADER_BYTES = 12
_STEP = 64 * 1024


def check_pack(pack: bytes) -> None:
    """Raise `FormatError` for a pack that is malformed or too large when inflated."""
    count = int.from_bytes(pack[8:12], "big")
    if pack[:4] != b"PACK" or count > MAX_OBJECTS:
        raise FormatError("git pack", expected=f"at most {MAX_OBJECTS} objects", got=repr(pack[:_HEADER_BYTES]))
    offset, total = _HEADER_BYTES, 0
    try:
        for _ in range(count):
            kind, size, offset = _entry_header(pack, offset)
            if kind == _OFS_DELTA:
                _, offset = _number(pack, offset)
            elif kind == _REF_DELTA:
                offset += _OID_BYTES
            start, offset = _inflate(pack, offset, size)
            if kind in {_OFS_DELTA, _REF_DELTA}:
                _, after = _number(start, 0)
                size = max(size, _number(start, after)[0])
            total += size
            if size > MAX_OBJECT_BYTES or total > MAX_TOTAL_BYTES:
                raise FormatError("git pack unfolds to too much", expected=f"at most {MAX_TOTAL_BYTES} bytes")
    except (IndexError, zlib.error) as error:
        raise FormatError("git pack is malformed", got=str(error)) from error


def _entry_header(pack: bytes, offset: int) -> tuple[int, int, int]:
    """Read an entry's type (3 bits) and size (4 bits, then 7 per byte, least significant first)."""
    first = pack[offset]
    kind, size, shift = (first >> 4) & 7, first & 15, 4
    while pack[offset] & 0x80:
        offset += 1
        size |= (pack[offset] & 0x7F) << shift
        shift += 7
    if size > MAX_OBJECT_BYTES:
        raise FormatError("git object is too large", expected=f"at most {MAX_OBJECT_BYTES} bytes", got=size)
    return kind, size, offset + 1


def _number(data: bytes, offset: int) -> tuple[int, int]:
    """Read a number of 7 bits per byte, least significant first, or skip an offset, which is as long."""
    value = shift = 0
    while True:
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        shift += 7
        offset += 1
        if not byte & 0x80:
            return value, offset


def _inflate(pack: bytes, offset: int, size: int) -> tuple[bytes, int]:
    """Inflate one stream in bounded steps; return its first bytes and the offset of the next entry."""
    stream = zlib.decompressobj()
    start, length = b"", 0
    view = memoryview(pack)
    while not stream.eof:
        piece = view[offset : offset + _STEP]
        if not piece:
            raise zlib.error("the stream does not end")
        unfolded = stream.decompress(piece, size - length + 1)
        start = start or unfolded
        length += len(unfolded)
        if length > size or stream.unconsumed_tail:
            raise zlib.error("an object is longer than it says")
        offset += len(piece) - len(stream.unused_data)
    if length != size:
        raise zlib.error("an object is shorter than it says")
    return start, offset
