"""What finds the rows of an index, in the form in which it is stored.

Hashes are records of 64 bits, in order: 40 of a hash above the 24 of its row's number. Words are lines, one for each
row: its name, a tab, its license.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Sequence

ROWS_IN_PART = 128
WORDS_IN_PART = 2048
HASHES_IN_PART = 8192
PREFIX = 10
"""Hex digits of a hash that a record holds."""
ROW_BITS = 24
BLANKS = str.maketrans("\t\n", "  ")
"""For words that hold what stands between words."""


def name_digits(name: str) -> str:
    """Return the hash of a name in lower case, as far as a record holds one."""
    return hashlib.sha256(name.encode()).hexdigest()[:PREFIX]


def bytes_of(numbers: Sequence[int]) -> bytes:
    """Return records as they are stored, in little-endian order."""
    found = array("Q", numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def numbers_of(body: bytes) -> array[int]:
    """Return records that were stored."""
    found = array("Q")
    found.frombytes(body)
    if sys.byteorder == "big":
        found.byteswap()
    return found
