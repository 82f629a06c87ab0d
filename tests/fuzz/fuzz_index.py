"""Run the index target under atheris; started by scripts/fuzz_index with libFuzzer's arguments.

libFuzzer's own mutations hardly get past a signature. So most of the time ours are used, which change the tree and sign
again; what is new in coverage is kept in the corpus either way.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2pqwen"]):
    from tests.fuzz.index_target import judge, seeds
    from tests.fuzz.mutation import mutate

RAW = 0.3  # the share of libFuzzer's own mutations


def one_input(data: bytes) -> None:
    judge(data)


def changed(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    if len(data) < 2 or chance.random() < RAW:
        return atheris.Mutate(data, max_size)
    state = bytes((chance.randrange(256),)) if chance.random() < 0.2 else data[:1]
    return (state + mutate(data[1:], chance))[:max_size]


def main() -> None:
    corpus = Path(sys.argv[1])
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    atheris.Setup(sys.argv, one_input, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
