"""The `Range` of a request (RFC 9110 14.2), one range of bytes only; several, or another unit, count as none."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})", re.ASCII | re.IGNORECASE)


def requested_range(header: str | None, size: int) -> range | None:
    """Return the byte offsets asked for; the whole file where no single range is; None where nothing satisfies it."""
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match[1] == match[2] == "":
        return range(size)
    if match[1] == "":
        count = int(match[2])
        return range(max(size - count, 0), size) if count and size else None
    start, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return range(size)  # not a valid range, so the field is ignored
    return range(start, min(last + 1, size)) if start < size else None


def is_single_range(header: str | None) -> bool:
    """Tell whether the request names one range of bytes, so that 206 is the answer."""
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or match[1] == match[2] == "":
        return False
    return not (match[1] and match[2] and int(match[2]) < int(match[1]))
