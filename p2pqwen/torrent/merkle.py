"""BEP 52 merkle trees: SHA-256 over 16 KiB blocks, zero hashes after a file's last block."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

BLOCK_SIZE = 16 * 1024
HASH_SIZE = 32


@cache
def pad_hash(level: int) -> bytes:
    """Return the root of a subtree of 2^level zero leaves, which pads the tree after the end of the file."""
    if level == 0:
        return bytes(HASH_SIZE)
    below = pad_hash(level - 1)
    return sha256(below + below).digest()


def root(nodes: bytes, *, width: int | None = None, level: int = 0) -> bytes:
    """Return the 32-byte root over `nodes`, concatenated hashes `level` rows above the leaves.

    The row is padded to `width` nodes, a power of two; by default the smallest that holds them.
    """
    count = len(nodes) // HASH_SIZE
    if not count or len(nodes) % HASH_SIZE:
        raise ValueError("a merkle row is one or more whole hashes")
    width = power_of_two_above(count) if width is None else width
    if width < count or width & (width - 1):
        raise ValueError("the width of a merkle row is a power of two that holds its nodes")
    while width > 1:
        if len(nodes) // HASH_SIZE % 2:
            nodes += pad_hash(level)
        nodes = b"".join([sha256(nodes[at : at + 64]).digest() for at in range(0, len(nodes), 64)])
        width //= 2
        level += 1
    return nodes


def root_of_layer(layer: bytes, piece_length: int) -> bytes:
    """Return the `pieces root` of a file of several pieces from its piece layer."""
    return root(layer, level=(piece_length // BLOCK_SIZE).bit_length() - 1)


def power_of_two_above(count: int) -> int:
    """Return the smallest power of two that is at least `count`."""
    return 1 << max(count - 1, 0).bit_length()
