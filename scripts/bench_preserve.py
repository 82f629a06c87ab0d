#!/usr/bin/env python
"""Preserving from a local Hub, in one run with `hf download` alone: preserve also hashes, proves, makes a torrent.

    scripts/bench_preserve.py [--gigabytes 2] [--shards 4] [--rounds 5] [--hub-rate MB_PER_SECOND] [--no-xet]
    scripts/bench_preserve.py --memory [--gigabytes 5] [--shards 5] [--disk-rate MB_PER_SECOND]
    scripts/bench_preserve.py --repositories 500

The first way times pairs: both programs, one right after the other, in turn the one and the other first, each into an
empty place, and the ratio is that of a pair. So what else the machine does meets both alike, and what grows warm with
time favours neither. Processor seconds (of the program and all that it starts) say where the time goes. `--hub-rate`
limits each connection to the Hub to a line's speed; without it the Hub, which runs on the same cores, is as fast as it
can be. `--no-xet`: over plain HTTP alone.

`--memory`: what `preserve` and all that it starts take at most, from a Hub without a limit to a disk of `--disk-rate`.

`--repositories`: how often the Hub is asked by a second `preserve --org` over so many repositories without a change.
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
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.simulators.faults import FILES, Effect, Fault  # noqa: E402
from tests.simulators.hub import HubSimulator  # noqa: E402
from tests.support.memory import peak_of  # noqa: E402
from tests.support.models import ATTRIBUTES, README  # noqa: E402
from tests.support.slow_disk import slow_disk  # noqa: E402

REPO = "Qwen/Bench"
AIMS = {"Xet": 1.05, "plain HTTP": 1.1}
MEMORY_AIM = 600e6
REQUESTS_AIM = 2


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds by the clock, and of processors."""

    seconds: float
    processors: float


@dataclass(frozen=True, slots=True)
class Pair:
    """`hf download` and `p2pqwen preserve`, one right after the other."""

    download: Took
    preserve: Took

    @property
    def ratio(self) -> float:
        return self.preserve.seconds / self.download.seconds


def make_snapshot(folder: Path, size: int, shards: int, *, sparse: bool = False) -> None:
    """Write a snapshot of `shards` equal files of random bytes; `sparse`: of zeros after the first ones."""
    folder.mkdir()
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    (folder / "README.md").write_bytes(README)
    (folder / "config.json").write_bytes(b"{}\n")
    block = 1 << 20
    for shard in range(shards):
        with (folder / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors").open("wb") as file:
            for _ in range(1 if sparse else size // shards // block):
                file.write(os.urandom(block))
            file.truncate(size // shards // block * block)


def environment_of(work: Path, endpoint: str) -> dict[str, str]:
    return {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(work / "hf-home"),
        "HF_HUB_CACHE": str(work / "hf-cache"),
        "P2PQWEN_HOME": str(work / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def preserve(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "p2pqwen", "preserve", *arguments]


def timed(arguments: list[str], environment: dict[str, str]) -> Took:
    """Run a program and return what it took, with all that it started."""
    begun = time.perf_counter()
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return Took(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)


def one_pair(work: Path, endpoint: str, *, preserve_first: bool) -> Pair:
    """Run both, each into an empty place and to a disk that has written out what was before."""
    environment = environment_of(work, endpoint)
    programs = {"hf": [str(Path(sys.executable).parent / "hf"), "download", REPO], "p2pqwen": preserve(REPO)}
    took = {}
    for name in sorted(programs, reverse=preserve_first):
        os.sync()
        took[name] = timed(programs[name], environment)
        for folder in ("hf-cache", "hf-home", "home"):
            shutil.rmtree(work / folder, ignore_errors=True)
    return Pair(took["hf"], took["p2pqwen"])


def machine() -> str:
    where = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {where}, load {os.getloadavg()[0]:.1f}"


def speed(wanted: argparse.Namespace, work: Path) -> None:
    with HubSimulator() as hub:
        hub.xet.served = not wanted.no_xet
        make_snapshot(work / "src", int((wanted.gigabytes or 2) * 1e9), wanted.shards or 4)
        hub.add(REPO, work / "src")
        if wanted.hub_rate:
            hub.faults.add(Fault(Effect(bytes_per_second=wanted.hub_rate * 1e6), on=FILES))
        one_pair(work, hub.endpoint, preserve_first=False)  # programs and files are read for the first time
        pairs = [one_pair(work, hub.endpoint, preserve_first=bool(number % 2)) for number in range(wanted.rounds)]
    way = "plain HTTP" if wanted.no_xet else "Xet"
    rate = f", each connection at {wanted.hub_rate:g} MB/s" if wanted.hub_rate else ", Hub unlimited on the same cores"
    print(f"over {way}: {wanted.gigabytes or 2:g} GB in {wanted.shards or 4} shards, {wanted.rounds} pairs{rate}")
    print("                     median      best   processors (median)")
    for name, took in (
        ("hf download", [one.download for one in pairs]),
        ("p2pqwen preserve", [one.preserve for one in pairs]),
    ):
        seconds, processors = [one.seconds for one in took], statistics.median(one.processors for one in took)
        print(f"{name:<17} {statistics.median(seconds):7.2f} s {min(seconds):7.2f} s {processors:7.2f} s")
    ratios = sorted(one.ratio for one in pairs)
    best = min(one.preserve.seconds for one in pairs) / min(one.download.seconds for one in pairs)
    spread = f"of a pair, from {ratios[0]:.2f} to {ratios[-1]:.2f}; of the best {best:.2f}"
    print(f"ratio             {statistics.median(ratios):7.2f}   {spread}   (aim: at most {AIMS[way]:g})")


def memory(wanted: argparse.Namespace, work: Path) -> None:
    with HubSimulator() as hub:
        hub.xet.served = not wanted.no_xet
        size, shards = wanted.gigabytes or 5, wanted.shards or 5
        make_snapshot(work / "src", int(size * 1e9), shards, sparse=True)
        hub.add(REPO, work / "src")
        environment = environment_of(work, hub.endpoint) | slow_disk(work, int(wanted.disk_rate * 1e6))
        process = subprocess.Popen(
            preserve(REPO), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with peak_of(process.pid) as peak:
            if process.wait() != 0:
                raise subprocess.CalledProcessError(process.returncode, process.args)
    at = f"each process writes {wanted.disk_rate:g} MB/s at most"
    print(f"{size:g} GB in {shards} files, {at}, Hub unlimited, {peak.processes} processes at once")
    print(f"resident at most  {peak.whole / 1e6:7.0f} MB   (aim: below {MEMORY_AIM / 1e6:.0f} MB)")


def requests(wanted: argparse.Namespace, work: Path) -> None:
    with HubSimulator() as hub:
        for number in range(wanted.repositories):
            folder = work / "src" / str(number)
            folder.mkdir(parents=True)
            (folder / "README.md").write_bytes(README + b"%d\n" % number)
            (folder / "model.safetensors").write_bytes(b"weights %d\n" % number)
            hub.add(f"Qwen/Bench-{number}", folder)
        environment = environment_of(work, hub.endpoint)
        timed(preserve("--org", "Qwen"), environment)
        hub.log.clear()
        took = timed(preserve("--org", "Qwen"), environment)
        asked = Counter(call.repo for call in hub.log)
    lists = asked.pop("", 0)
    words = f"{took.seconds:.1f} s, {took.processors:.1f} processor seconds"
    print(f"{wanted.repositories} repositories without a change: {words}, {lists} for the list of them")
    print(f"requests for each {max(asked.values()):7d}   (aim: at most {REQUESTS_AIM})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hub-rate", type=float, help="MB/s for each connection to the Hub")
    parser.add_argument("--no-xet", action="store_true", help="large files over plain HTTP alone")
    parser.add_argument("--memory", action="store_true", help="measure memory")
    parser.add_argument("--disk-rate", type=float, default=60.0, help="with --memory: MB/s for each process")
    parser.add_argument("--repositories", type=int, help="count requests")
    wanted = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="p2pqwen-bench-") as name:
        measure = memory if wanted.memory else requests if wanted.repositories else speed
        measure(wanted, Path(name))


if __name__ == "__main__":
    main()
