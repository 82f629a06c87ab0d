"""Run a target under atheris; started by scripts/fuzz with the target's name and libFuzzer's arguments.

Of an index, libFuzzer's own mutations hardly get past a signature. So most of the time ours are used, which change the
tree and sign again; what is new in coverage is kept in the corpus either way.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2pqwen"]):
    from tests.fuzz import formats_target, index_target
    from tests.fuzz.mutation import mutate

TARGETS = {"index": index_target, "formats": formats_target}
RAW = 0.3  # the share of libFuzzer's own mutations of an index


def changed_index(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    if len(data) < 2 or chance.random() < RAW:
        return atheris.Mutate(data, max_size)
    state = bytes((chance.randrange(256),)) if chance.random() < 0.2 else data[:1]
    return (state + mutate(data[1:], chance))[:max_size]


def main(name: str, arguments: list[str]) -> None:
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (Path(arguments[0]) / f"seed-{number:04}").write_bytes(seed)
    options = {"custom_mutator": changed_index} if target is index_target else {}
    atheris.Setup([sys.argv[0], *arguments], lambda data: void(target.judge(data)), **options)
    atheris.Fuzz()


def void(result: object) -> None:
    """libFuzzer takes no result."""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
