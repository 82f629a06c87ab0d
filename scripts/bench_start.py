#!/usr/bin/env python
"""Time `p2pqwen --help` and `list` from a cold start, beside a Python that imports only typer.

scripts/bench_start.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime

REFERENCE = "python -c 'import typer'"


def seconds(programs: dict[str, list[str]], rounds: int, home: str) -> dict[str, list[float]]:
    """Return what each program took, in turn; the first run, which compiles modules, does not count."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"P2PQWEN_HOME": f"{home}/home", "PYTHONPYCACHEPREFIX": f"{home}/compiled"}
    for number in range(rounds + 1):
        for name, arguments in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    programs = {
        REFERENCE: ["-c", "import typer"],
        "p2pqwen --help": ["-m", "p2pqwen", "--help"],
        "p2pqwen list": ["-m", "p2pqwen", "list"],
    }
    with tempfile.TemporaryDirectory() as home:
        times = seconds(programs, rounds, home)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {rounds} runs each, in turn")
    for name, series in times.items():
        ratio = min(series) / min(times[REFERENCE])
        aim = "" if name == REFERENCE else "   (aim: under 0.12 s)"
        print(f"{name:26} {min(series):.3f} s, median {statistics.median(series):.3f} s, ratio {ratio:.2f}{aim}")


if __name__ == "__main__":
    main()
