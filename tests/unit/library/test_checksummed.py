from __future__ import annotations

import json

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.library.checksummed import seal, unseal

FIELDS = {"state": "partial", "selected": ["*.json", "modèle*"], "count": 3, "none": None}


def test_what_was_sealed_is_read():
    assert unseal(seal(FIELDS), max_bytes=1000) == FIELDS


def test_no_flipped_bit_gives_other_fields():
    """A flip in the name of the check takes the check away, and nothing else."""
    data = seal(FIELDS)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            fields = unseal(bytes(flipped), max_bytes=1000)
        except FormatError:
            continue
        assert {name: fields.get(name) for name in FIELDS} == FIELDS


def test_a_file_without_a_seal_is_taken_where_a_user_may_have_written_it():
    data = json.dumps(FIELDS).encode()
    assert unseal(data, max_bytes=1000) == FIELDS
    with pytest.raises(FormatError, match="changed since it was written"):
        unseal(data, max_bytes=1000, always=True)
