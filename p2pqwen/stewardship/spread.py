"""Independent nodes, one rule, different choices: a number from the node's id and the snapshot's.

Nodes do not know each other's plans. If all of them took the neediest snapshot, it would have a thousand copies
tomorrow and the next one none (in scripts/simulate_survival.py that loses more than choosing blindly). So each node
sees every need shifted a little, always by the same amount. Near-ties then fall differently at each node, and a node's
choice does not change from day to day.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator

from p2pqwen.values.snapshot_id import SnapshotId

NODE_ID_SIZE = 32
_COMMIT_DIGITS = 40


def fraction(node: bytes, snapshot: SnapshotId, use: bytes = b"") -> float:
    """Return a number evenly spread over (0, 1) that depends only on node, snapshot and use."""
    return next(fractions(node, [str(snapshot)], use))


def fractions(node: bytes, names: Iterable[str], use: bytes = b"") -> Iterator[float]:
    """Yield the `fraction` of each snapshot, given as its `str`: ORG/MODEL@COMMIT.

    It is BLAKE2b, keyed by the node, of the commit's 20 bytes and the repository's name.
    """
    keyed = hashlib.blake2b(digest_size=8, key=node[:64], person=use[:16])
    for name in names:
        hasher = keyed.copy()
        hasher.update(bytes.fromhex(name[-_COMMIT_DIGITS:]) + name[: -_COMMIT_DIGITS - 1].encode())
        yield ((int.from_bytes(hasher.digest(), "big") >> 11) + 0.5) * 2.0**-53


def gumbel(value: float) -> float:
    """Return ln(-ln u): adding it to scores and taking the least draws with weights exp(-score)."""
    return math.log(-math.log(value))
