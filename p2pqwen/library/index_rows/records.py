"""The stored form of the hashes and words by which the rows of an index are found.

Hashes are sorted records of 64 bits: 40 bits of a hash above the 24 bits of its row's number. Words are lines, one for
each row: its name, a tab, its license.
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
"""Hex digits of a hash in a record."""
ROW_BITS = 24
BLANKS = str.maketrans("\t\n", "  ")
"""Replaces tabs and newlines, which separate words, inside a word."""


def name_digits(name: str) -> str:
    """Return the hash of a lower-case name, as many digits as a record has."""
    return hashlib.sha256(name.encode()).hexdigest()[:PREFIX]


def bytes_of(numbers: Sequence[int]) -> bytes:
    """Return the stored form of records, in little-endian order."""
    found = array("Q", numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def numbers_of(body: bytes) -> array[int]:
    """Return the records in a stored part."""
    found = array("Q")
    found.frombytes(body)
    if sys.byteorder == "big":
        found.byteswap()
    return found
