#!/usr/bin/env python
"""Preserving from a local Hub, in one run with `hf download` alone: preserve also hashes, proves, makes a torrent.

    scripts/bench_preserve.py [--gigabytes 2] [--shards 4] [--rounds 3] [--hub-rate MB_PER_SECOND] [--no-xet]

Both programs start cold and write to the same disk. `--hub-rate` limits the Hub to a line's speed; without it the Hub,
which runs on the same cores, is as fast as it can be. `--no-xet`: over plain HTTP alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.simulators.faults import FILES, Effect, Fault  # noqa: E402
from tests.simulators.hub import HubSimulator  # noqa: E402
from tests.support.models import ATTRIBUTES, README  # noqa: E402

REPO = "Qwen/Bench"


def make_snapshot(folder: Path, size: int, shards: int) -> None:
    """Write a snapshot of `shards` equal files of random bytes."""
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    (folder / "README.md").write_bytes(README)
    (folder / "config.json").write_bytes(b"{}\n")
    block = 1 << 20
    for shard in range(shards):
        with (folder / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors").open("wb") as file:
            for _ in range(size // shards // block):
                file.write(os.urandom(block))


def timed(arguments: list[str], environment: dict[str, str]) -> float:
    """Run a program and return its seconds."""
    start = time.perf_counter()
    subprocess.run(arguments, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def one_round(work: Path, endpoint: str) -> tuple[float, float]:
    """Return the seconds of `hf download` and of `p2pqwen preserve`, each into an empty place."""
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(work / "hf-home"),
        "HF_HUB_CACHE": str(work / "hf-cache"),
        "P2PQWEN_HOME": str(work / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    download = timed([str(bin_folder / "hf"), "download", REPO], environment)
    shutil.rmtree(work / "hf-cache", ignore_errors=True)
    preserve = timed([sys.executable, "-m", "p2pqwen", "preserve", REPO], environment)
    shutil.rmtree(work / "home", ignore_errors=True)
    return download, preserve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hub-rate", type=float, help="MB/s for each connection to the Hub")
    parser.add_argument("--no-xet", action="store_true", help="large files over plain HTTP alone")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2pqwen-bench-") as name, HubSimulator() as hub:
        work = Path(name)
        hub.xet.served = not wanted.no_xet
        (work / "src").mkdir()
        make_snapshot(work / "src", int(wanted.gigabytes * 1e9), wanted.shards)
        hub.add(REPO, work / "src")
        if wanted.hub_rate:
            hub.faults.add(Fault(Effect(bytes_per_second=wanted.hub_rate * 1e6), on=FILES))
        rounds = [one_round(work, hub.endpoint) for _ in range(wanted.rounds)]
    downloads, preserves = zip(*rounds, strict=True)
    ratio = statistics.median(preserves) / statistics.median(downloads)
    best = min(preserves) / min(downloads)
    aim, way = (1.1, "plain HTTP") if wanted.no_xet else (1.05, "Xet")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}")
    rate = f", each connection at {wanted.hub_rate:g} MB/s" if wanted.hub_rate else ", Hub unlimited on the same cores"
    print(f"over {way}: {wanted.gigabytes:g} GB in {wanted.shards} shards, median of {wanted.rounds}{rate}")
    print(f"hf download       {statistics.median(downloads):7.2f} s")
    print(f"p2pqwen preserve  {statistics.median(preserves):7.2f} s")
    print(f"ratio             {ratio:7.2f}   of the best {best:.2f}   (aim: at most {aim:g})")


if __name__ == "__main__":
    main()
