#!/usr/bin/env python3
"""How long `p2pqwen search WORD` takes over large indexes, from cold process start, and how much memory.

    scripts/bench_search.py [--against COMMIT] [--runs N] [ENTRIES…]      default: bf8b906 5 100000

Aims for 100,000 entries: a twentieth of the time and an eighth of the memory of COMMIT, which runs beside it over the
same index; for 1,000,000 (COMMIT takes none so large): less than 0.5 s and 100 MB, and an `index verify` of at most 11
times that of 100,000. Both answers are compared. Exit 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench_index import BASELINE, Aim, Run, best, elsewhere, entry, machine, older, tell, timed  # noqa: E402
from tests.support.publishing import Rules, chain, make_document, make_index  # noqa: E402

MOST_OLD = 200_000
AIM = Aim(1 / 20, 1 / 8)
MILLION_SECONDS, MILLION_BYTES, LINEAR = 0.5, 100e6, 11.0


def write_index(path: Path, entries: int) -> str:
    """Write an index of so many entries and return its publisher's id."""
    roots = chain(Rules())
    path.write_bytes(make_index(roots, make_document(roots, 1, map(entry, range(entries)))))
    return str(roots[0].root.digest)


def searched(tree: Path, home: Path, word: str, runs: int) -> tuple[Run, list[tuple[str, str]]]:
    """The best of several searches, and what was found."""
    done = [timed(tree, home, "search", word, "--json") for _ in range(runs)]
    rows = json.loads(done[-1][1])["results"]
    return best([run for run, _ in done]), [(row["repo"], row["commit"]) for row in rows]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", type=int, nargs="*", default=[100_000])
    parser.add_argument("--against", default=BASELINE)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args(arguments)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, the best of {given.runs} runs")
    missed = False
    verified: dict[int, Run] = {}
    with older(given.against) as tree, tempfile.TemporaryDirectory() as name:
        for entries in given.entries:
            folder = Path(name) / str(entries)
            folder.mkdir()
            index = folder / "index.json"
            add = ("trust", "add", elsewhere(write_index, index, entries), "--index", str(index))
            timed(ROOT, folder / "home", *add)
            verified[entries] = timed(ROOT, folder / "empty", "index", "verify", str(index))[0]
            word = f"Model-{entries // 5}"
            here, found = searched(ROOT, folder / "home", word, given.runs)
            if entries <= MOST_OLD:
                timed(tree, folder / "old", *add)
                there, known = searched(tree, folder / "old", word, given.runs)
                assert found == known, (found, known)
                missed |= tell(f"search, {entries} entries", here, there, AIM if entries == 100_000 else Aim())
            else:
                over = entries == 1_000_000 and (here.seconds > MILLION_SECONDS or here.memory > MILLION_BYTES)
                missed |= over
                print(
                    f"search, {entries} entries: {here.seconds:.2f} s ({here.cpu:.2f} of a core), "
                    f"{here.memory / 1e6:.0f} MB, {len(found)} found{'  MISSED' if over else ''}"
                )
            run = verified[entries]
            print(
                f"  index verify: {run.seconds:.1f} s ({run.cpu:.1f} of a core), {run.memory / 1e6:.0f} MB", flush=True
            )
    if {100_000, 1_000_000} <= verified.keys():
        factor = verified[1_000_000].cpu / verified[100_000].cpu
        missed |= factor > LINEAR
        print(f"verifying ten times as many takes {factor:.1f} times as long{'  MISSED' if factor > LINEAR else ''}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
