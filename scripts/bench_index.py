#!/usr/bin/env python3
"""How long `p2pqwen index verify` takes for large indexes, from cold process start, and how much memory.

    scripts/bench_index.py [ENTRIES…]      default: 1000 10000 100000

Aims: 10,000 entries in less than 1 s; 100,000 in less than 10 s and 1 GB; growth close to linear. Exit 1 if one is
missed. The reference is a fresh Python process that does no more than `json.load` the same file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.entry import Entry, entry_magnet  # noqa: E402 - the project's root must be found first
from tests.support.publishing import Rules, chain, make_document, make_entry, make_index  # noqa: E402

AIMS = {10_000: (1.0, 1e9), 100_000: (10.0, 1e9)}  # entries: (seconds, bytes)
MIRRORS = ("https://one.example/keep/", "https://two.example/keep/")
RUNS = 3
REFERENCE = "import json, sys; json.load(open(sys.argv[1], 'rb'))"


@dataclass(frozen=True, slots=True)
class Run:
    """One process from its start to its end; memory is the largest resident set, in bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The best of several runs, and of as many of the reference."""

    entries: int
    file_size: int
    verify: Run
    reference: Run


def entry(number: int) -> Entry:
    """An entry as `publish` makes it with two mirrors; four commits to a model, fifty organisations."""
    made = make_entry(number, f"Org{number % 50}/Model-{number // 4}")
    magnet = entry_magnet(made.id, made.infohash, made.size, web_seeds=made.web_seeds, trackers=(), mirrors=MIRRORS)
    return replace(made, magnet=magnet)


def measure(entries: int, folder: Path) -> Measured:
    path = folder / f"{entries}.json"
    roots = chain(Rules())
    path.write_bytes(make_index(roots, make_document(roots, 1, map(entry, range(entries)), mirrors=MIRRORS)))
    runs = [(verify(path, entries, folder), load_only(path)) for _ in range(RUNS)]
    best, reference = (min(column, key=lambda run: run.seconds) for column in zip(*runs, strict=True))
    size = path.stat().st_size
    path.unlink()
    return Measured(entries, size, best, reference)


def verify(path: Path, entries: int, folder: Path) -> Run:
    run, stdout = timed(["-m", "p2pqwen", "index", "verify", str(path), "--json"], folder)
    answer = json.loads(stdout)
    assert answer["ok"], answer
    assert answer["entries"] == entries
    return run


def load_only(path: Path) -> Run:
    return timed(["-c", REFERENCE, str(path)], path.parent)[0]


def timed(arguments: list[str], folder: Path) -> tuple[Run, bytes]:
    environment = {**os.environ, "P2PQWEN_HOME": str(folder / "home")}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stdout is not None
    stdout = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, stdout
    return Run(seconds, usage.ru_maxrss * 1024), stdout


def main(arguments: list[str]) -> int:
    wanted = [int(text) for text in arguments] or [1000, 10_000, 100_000]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, the best of {RUNS} runs")
    print(
        f"{'entries':>8}  {'file':>8}  {'seconds':>8}  {'memory':>8}  {'µs/entry':>8}  {'json.load':>9}  {'ratio':>5}"
    )
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for entries in wanted:
            found = measure(entries, Path(folder))
            seconds, memory = AIMS.get(entries, (float("inf"), float("inf")))
            run, reference = found.verify, found.reference
            over = run.seconds > seconds or run.memory > memory
            missed |= over
            print(
                f"{entries:>8}  {found.file_size / 1e6:>5.1f} MB  {run.seconds:>8.2f}  {run.memory / 1e6:>5.0f} MB"
                f"  {run.seconds / entries * 1e6:>8.1f}  {reference.seconds:>9.2f}"
                f"  {run.seconds / reference.seconds:>5.1f}{'  MISSED' if over else ''}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
