#!/usr/bin/env python3
"""Measure the time and memory of `p2pqwen search WORD` over large indexes, from a cold start.

    scripts/bench_search.py [--against COMMIT] [--runs N] [--cpu] [ENTRIES…]      default: bf8b906 5 100000

Aims for 100,000 entries: a twentieth of the time and an eighth of the memory of COMMIT, which runs in turn over the
same index. For 1,000,000 (COMMIT accepts none that large): less than 0.5 s and 100 MB, and an `index verify` of at most
11 times that of 100,000. Both answers are compared. Exit 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.document import INDEX_TYPE, signed_parts  # noqa: E402 - the project's root must be found first
from p2pqwen.index.entry import row_order  # noqa: E402
from p2pqwen.signing.envelope import sign  # noqa: E402
from p2pqwen.values.strict_json import JsonObject, canonical  # noqa: E402
from scripts.bench_index import BASELINE, Aim, Run, best, elsewhere, entry, heading, older, tell, timed  # noqa: E402
from tests.support.publishing import Rules, chain, key, make_document  # noqa: E402

MOST_OLD = 200_000
AIM = Aim(1 / 20, 1 / 8)
MILLION_SECONDS, MILLION_BYTES, LINEAR = 0.5, 100e6, 11.0


def write_index(path: Path, entries: int) -> str:
    """Write an index of `entries` entries in the form of `publish`, and return its publisher's id."""
    roots = chain(Rules())
    numbers = sorted(range(entries), key=lambda number: (place_of(number), number))
    header = make_document(roots, 1, []).header_json()
    before, after = signed_parts(header)
    body = bytearray(before)
    with path.open("wb") as file:
        file.write(b'{"roots": ' + json.dumps([root.to_json() for root in roots], indent=1).encode())
        file.write(b',\n "signed": ' + json.dumps(header, indent=1).encode().rstrip(b"\n}") + b',\n  "entries": [')
        for count, row in enumerate(in_order(numbers)):
            file.write(b",\n   " if count else b"\n   ")
            file.write(json.dumps(row, indent=1).replace("\n", "\n   ").encode())
            body += b"," + canonical(row) if count else canonical(row)
        signatures = [sign(INDEX_TYPE, bytes(body + after), key("index"))]
        file.write(b"\n  ]\n },\n" + b' "signatures": ' + json.dumps(signatures).encode() + b"}\n")
    return str(roots[0].root.digest)


def place_of(number: int) -> str:
    """Return the repository of the entry with this number."""
    return f"Org{number % 50}/Model-{number // 4}"


def in_order(numbers: list[int]) -> Iterator[JsonObject]:
    """Yield the rows of entries that are sorted by repository, sorted by commit too, without holding all of them."""
    for _, some in itertools.groupby(numbers, key=place_of):
        yield from (one.to_json() for one in sorted(map(entry, some), key=row_order))


def searched(tree: Path, home: Path, word: str, runs: int) -> tuple[Run, list[tuple[str, str]]]:
    """Return the best of several searches, and the results."""
    done = [timed(tree, home, "search", word, "--json") for _ in range(runs)]
    rows = json.loads(done[-1][1])["results"]
    return best([run for run, _ in done]), [(row["repo"], row["commit"]) for row in rows]


def search_all(sizes: list[int], tree: Path, runs: int, *, cpu: bool = False) -> bool:
    """Print a row for an index of each size, `tree` beside ours if it accepts them; tell whether an aim was missed."""
    missed = False
    verified: dict[int, Run] = {}
    for entries in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            index = folder / "index.json"
            add = ("trust", "add", elsewhere(write_index, index, entries), "--index", str(index))
            timed(ROOT, folder / "home", *add)
            verified[entries] = run = timed(ROOT, folder / "empty", "index", "verify", str(index))[0]
            word = f"Model-{entries // 5}"
            here, found = searched(ROOT, folder / "home", word, runs)
            if entries <= MOST_OLD:
                timed(tree, folder / "old", *add)
                there, known = searched(tree, folder / "old", word, runs)
                assert found == known, (found, known)
                missed |= tell(f"search, {entries} entries", here, there, AIM if entries == 100_000 else Aim(), cpu=cpu)
            else:
                seconds = here.cpu if cpu else here.seconds
                over = entries == 1_000_000 and (seconds > MILLION_SECONDS or here.memory > MILLION_BYTES)
                missed |= over
                print(
                    f"search, {entries} entries: {here.seconds:.2f} s ({here.cpu:.2f} of a core), "
                    f"{here.memory / 1e6:.0f} MB, {len(found)} found   (aim: {MILLION_SECONDS} s, "
                    f"{MILLION_BYTES / 1e6:.0f} MB){'  MISSED' if over else ''}"
                )
            print(
                f"  index verify of {entries}: {run.seconds:.1f} s ({run.cpu:.1f} of a core), "
                f"{run.memory / 1e6:.0f} MB",
                flush=True,
            )
    if {100_000, 1_000_000} <= verified.keys():
        factor = verified[1_000_000].cpu / verified[100_000].cpu
        missed |= factor > LINEAR
        over = "  MISSED" if factor > LINEAR else ""
        print(f"verifying ten times as many takes {factor:.1f} times as long   (aim: {LINEAR:.0f}){over}")
    return missed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", type=int, nargs="*", default=[100_000])
    parser.add_argument("--against", default=BASELINE)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="hold the aims by processor time")
    given = parser.parse_args(arguments)
    print(heading(given.against, given.runs), flush=True)
    with older(given.against) as tree:
        return 1 if search_all(given.entries, tree, given.runs, cpu=given.cpu) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
