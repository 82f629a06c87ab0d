"""The fuzz target holds for its seeds and for a short, repeatable run of mutations; hours of it: scripts/fuzz."""

from __future__ import annotations

import random

import pytest

from p2pqwen.index.acceptance import RefusedError, accept
from tests.fuzz.index_target import NOW, STATES, judge, seeds
from tests.fuzz.mutation import damaged, mutate

pytestmark = pytest.mark.slow

DAMAGED = 1500
CHANGED = 1500


def test_the_seeds():
    results = [judge(seed) for seed in seeds()]
    assert len(results) > 100
    assert sum(result is not None for result in results) > 15
    assert any(result is None for result in results)


def test_damaged_seeds():
    """Bytes changed at random: nearly all of them end in the parser or at a signature."""
    chance = random.Random(20261123)
    corpus = list(seeds())
    for _ in range(DAMAGED):
        judge(damaged(chance.choice(corpus), chance, corpus))


def test_changed_seeds():
    """Changed in their tree and signed again: every rule of acceptance is reached, and some are accepted."""
    chance = random.Random(20261125)
    corpus = list(seeds())
    accepted, steps = 0, set()
    for _ in range(CHANGED):
        seed = chance.choice(corpus)
        data = seed[:1] + mutate(seed[1:], chance)
        if judge(data) is None:
            steps.add(step(data))
        else:
            accepted += 1
    assert steps == {1, 2, 3, 4, 5, 6, 7}
    assert accepted > 50


def step(data: bytes) -> int:
    with pytest.raises(RefusedError) as refusal:
        accept(data[1:], STATES[data[0] % len(STATES)], NOW)
    return refusal.value.step
