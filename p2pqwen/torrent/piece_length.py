"""Recipe 1's piece length: a function of the payload's size alone, so that every preserver makes the same pieces."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# (payload of at most, piece length)
_TABLE = (
    (64 * MIB, 256 * KIB),
    (GIB, MIB),
    (4 * GIB, 2 * MIB),
    (32 * GIB, 4 * MIB),
    (256 * GIB, 8 * MIB),
)
_LARGEST = 16 * MIB


def piece_length(total_size: int) -> int:
    """Return the piece length in bytes for a payload of `total_size` bytes, pad files not counted."""
    return next((length for limit, length in _TABLE if total_size <= limit), _LARGEST)
