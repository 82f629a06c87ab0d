"""BEP 33: how many addresses announced themselves to DHT nodes, from their bloom filters of 256 bytes. An estimate.

The text joins the filters of all nodes. Then one liar with all bits set makes a dying swarm look like one of
thousands, so here a bit counts once two nodes have it: an announcement goes to eight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

FILTER_SIZE = 256
"""Bytes."""
_BITS = FILTER_SIZE * 8
_HASHES = 2


def join(filters: Iterable[bytes]) -> bytes | None:
    """Return the bits that at least two filters have, those of the only one where there is one; None for none."""
    numbers = [int.from_bytes(one) for one in filters if len(one) == FILTER_SIZE]
    if len(numbers) < 2:
        return numbers[0].to_bytes(FILTER_SIZE) if numbers else None
    once = twice = 0
    for number in numbers:
        twice |= once & number
        once |= number
    return twice.to_bytes(FILTER_SIZE)


def estimate(bloom: bytes) -> float:
    """Return about how many addresses a filter holds; never more than some 7,800."""
    zeros = _BITS - int.from_bytes(bloom).bit_count()
    if zeros == _BITS:
        return 0.0  # the text's formula says one half
    return math.log(max(1, zeros) / _BITS) / (_HASHES * math.log(1 - 1 / _BITS))
