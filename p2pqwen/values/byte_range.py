"""The `Range` request header for one range of bytes (RFC 9110, sections 14.1.2 and 14.2).

A header with several ranges, another unit, or no valid range is ignored: the answer is the whole file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`, of `size`; `partial`: a range was requested (206)."""

    start: int
    stop: int
    size: int
    partial: bool

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def offsets(self) -> range:
        """The offsets of the bytes."""
        return range(self.start, self.stop)

    @property
    def content_range(self) -> str:
        """The `Content-Range` header of a 206."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the requested range, cut to the size; the whole file for anything but one valid range.

    None if the range is empty or begins past the end (416).
    """
    whole = ByteRange(0, size, size, partial=False)
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return whole
    if not match[1]:
        length = min(int(match[2]), size)
        return ByteRange(size - length, size, size, partial=True) if length else None
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return whole
    stop = min(int(match[2]) + 1, size) if match[2] else size
    return ByteRange(start, stop, size, partial=True) if start < size else None
