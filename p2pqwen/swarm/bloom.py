"""BEP 33: estimate how many addresses announced themselves to DHT nodes, from the nodes' bloom filters of 256 bytes.

The BEP joins the filters of all nodes. Then one liar that sets all bits makes a dying swarm look like one of thousands.
So here a bit counts only if 2 nodes have it; an announcement goes to 8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

FILTER_SIZE = 256
"""Bytes."""
_BITS = FILTER_SIZE * 8
_HASHES = 2


def join(filters: Iterable[bytes]) -> bytes | None:
    """Return the bits that at least 2 filters have; of a single filter, all its bits; None if there is no filter."""
    numbers = [int.from_bytes(one) for one in filters if len(one) == FILTER_SIZE]
    if len(numbers) < 2:
        return numbers[0].to_bytes(FILTER_SIZE) if numbers else None
    once = twice = 0
    for number in numbers:
        twice |= once & number
        once |= number
    return twice.to_bytes(FILTER_SIZE)


def estimate(bloom: bytes) -> float:
    """Return about how many addresses a filter contains, at most about 7,800."""
    zeros = _BITS - int.from_bytes(bloom).bit_count()
    if zeros == _BITS:
        return 0.0  # the BEP's formula gives one half
    return math.log(max(1, zeros) / _BITS) / (_HASHES * math.log(1 - 1 / _BITS))
