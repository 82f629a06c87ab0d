"""Independent nodes, one rule, different choices: a number from a node's own id and the snapshot's.

Nodes know nothing of one another's plans. If all of them took the neediest snapshot, it would get a thousand copies
tomorrow and the next one none (in scripts/simulate_survival.py that loses more than choosing blindly). So each node
sees every need a little moved, always by the same amount: near-ties fall differently at each node, and one node's
choice does not change from day to day.
"""

from __future__ import annotations

import hashlib
import math

from p2pqwen.values.snapshot_id import SnapshotId

NODE_ID_SIZE = 32


def fraction(node: bytes, snapshot: SnapshotId, use: bytes = b"") -> float:
    """Return a number evenly spread over (0, 1) that depends on node, snapshot and use alone."""
    digest = hashlib.blake2b(
        snapshot.commit.raw + str(snapshot.repo).encode(), digest_size=8, key=node[:64], person=use[:16]
    ).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53


def gumbel(value: float) -> float:
    """Return ln(-ln u): adding it to a score and taking the least is a draw with weights exp(-score)."""
    return math.log(-math.log(value))
