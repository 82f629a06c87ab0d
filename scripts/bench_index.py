#!/usr/bin/env python3
"""How long `p2pqwen index verify` takes for large indexes, from cold process start, and how much memory.

    scripts/bench_index.py [ENTRIES…]      default: 1000 10000 100000

Aims: 10,000 entries in less than 1 s; 100,000 in less than 10 s and 1 GB; growth close to linear. Exit 1 if one is
missed.
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


@dataclass(frozen=True, slots=True)
class Measured:
    """The best of several runs."""

    entries: int
    file_size: int
    seconds: float
    memory: int


def entry(number: int) -> Entry:
    """An entry as `publish` makes it with two mirrors; four commits to a model, fifty organisations."""
    made = make_entry(number, f"Org{number % 50}/Model-{number // 4}")
    magnet = entry_magnet(made.id, made.infohash, made.size, web_seeds=made.web_seeds, trackers=(), mirrors=MIRRORS)
    return replace(made, magnet=magnet)


def measure(entries: int, folder: Path) -> Measured:
    path = folder / f"{entries}.json"
    roots = chain(Rules())
    path.write_bytes(make_index(roots, make_document(roots, 1, map(entry, range(entries)), mirrors=MIRRORS)))
    best = min((verify(path, entries, folder) for _ in range(RUNS)), key=lambda one: one.seconds)
    path.unlink()
    return best


def verify(path: Path, entries: int, folder: Path) -> Measured:
    command = [sys.executable, "-m", "p2pqwen", "index", "verify", str(path), "--json"]
    environment = {**os.environ, "P2PQWEN_HOME": str(folder / "home")}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stdout is not None
    answer = json.loads(process.stdout.read())
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert answer["ok"], answer
    assert answer["entries"] == entries
    return Measured(entries, path.stat().st_size, seconds, usage.ru_maxrss * 1024)


def main(arguments: list[str]) -> int:
    wanted = [int(text) for text in arguments] or [1000, 10_000, 100_000]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, the best of {RUNS} runs")
    print(f"{'entries':>8}  {'file':>8}  {'seconds':>8}  {'memory':>8}  {'µs/entry':>8}")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for entries in wanted:
            found = measure(entries, Path(folder))
            seconds, memory = AIMS.get(entries, (float("inf"), float("inf")))
            over = found.seconds > seconds or found.memory > memory
            missed |= over
            print(
                f"{entries:>8}  {found.file_size / 1e6:>5.1f} MB  {found.seconds:>8.2f}  {found.memory / 1e6:>5.0f} MB"
                f"  {found.seconds / entries * 1e6:>8.1f}{'  MISSED' if over else ''}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
