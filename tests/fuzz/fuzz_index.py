"""Run the index target under atheris; started by scripts/fuzz_index with libFuzzer's arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2pqwen"]):
    from tests.fuzz.index_target import judge, seeds


def one_input(data: bytes) -> None:
    judge(data)


def main() -> None:
    corpus = Path(sys.argv[1])
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
