"""The other formats hold for their seeds and for a short run of damage; hours of it: scripts/fuzz formats."""

from __future__ import annotations

import random

from tests.fuzz.formats_target import FORMATS, judge, seeds
from tests.fuzz.mutation import damaged

DAMAGED = 4000


def test_every_format_has_a_seed_that_is_read():
    read = {seed[0] for seed in seeds() if judge(seed)}
    assert read == set(range(len(FORMATS)))


def test_damaged_seeds():
    chance = random.Random(20261125)
    corpus = list(seeds())
    results = [judge(damaged(chance.choice(corpus), chance, corpus)) for _ in range(DAMAGED)]
    assert results.count(None) > DAMAGED / 2
    assert results.count(True) > 100
