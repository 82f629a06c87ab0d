"""The fuzz target holds for its seeds and for a short, repeatable run of mutations; hours of it: scripts/fuzz_index."""

from __future__ import annotations

import random

from tests.fuzz.index_target import judge, seeds

MUTATIONS = 1500


def test_the_seeds():
    results = [judge(seed) for seed in seeds()]
    assert len(results) > 100
    assert sum(result is not None for result in results) > 15
    assert any(result is None for result in results)


def test_mutated_seeds():
    chance = random.Random(20261123)
    corpus = list(seeds())
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    del data[at : at + chance.randrange(1, 40)]
                case 2:
                    data[at:at] = chance.choice([b"[", b"{", b'"', b",", b"0", b"-", b"null", b"\\u0000", b"\xff"])
                case _:
                    other = chance.choice(corpus)
                    cut = chance.randrange(len(other))
                    data[at:at] = other[cut : cut + chance.randrange(1, 200)]
            data = data or bytearray(b"0")
        judge(bytes(data))
