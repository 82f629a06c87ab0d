#!/usr/bin/env python
"""How long `p2pqwen --help` takes from a cold process, beside a Python that imports typer and nothing else.

scripts/bench_start.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime


def seconds(arguments: list[str], rounds: int) -> float:
    """Return the median time of a program."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    reference = seconds(["-c", "import typer"], rounds)
    ours = seconds(["-m", "p2pqwen", "--help"], rounds)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, median of {rounds}")
    print(f"python -c 'import typer'  {reference:.3f} s")
    print(f"p2pqwen --help            {ours:.3f} s   (aim: under 0.3 s)")
    print(f"ratio                     {ours / reference:.2f}")


if __name__ == "__main__":
    main()
