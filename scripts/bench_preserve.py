#!/usr/bin/env python
"""Time `preserve` from a local Hub against `hf download`: preserve also hashes, proves and makes a torrent.

    scripts/bench_preserve.py [--gigabytes 2] [--shards 4] [--rounds 5] [--hub-rate MB_PER_SECOND] [--no-xet] [--stages]
    scripts/bench_preserve.py --memory [--gigabytes 5] [--shards 5] [--disk-rate MB_PER_SECOND]
    scripts/bench_preserve.py --repositories 500

The first form times pairs: both programs, one right after the other, in alternating order, each into an empty place;
the ratio is that of a pair. So the machine's other work affects both alike, and warm caches favour neither. CPU seconds
(of the program and all that it starts) show where the time goes. `--hub-rate` is the speed of the line to the Hub,
which all connections share; without it, the Hub, which runs on the same cores, is as fast as possible. `--no-xet`: only
plain HTTP.

`--stages` breaks the medians down. A stage ends with an event at the Hub: the first request, the first byte of a large
file, the last one. The cores that the program and the Hub keep busy in a stage show whether hashing could run in
parallel with it; the cost of hashing alone is measured in the same run.

`--memory`: the peak memory of `preserve` and all that it starts, from an unlimited Hub to a disk of `--disk-rate`.

`--repositories`: the requests of a second `preserve --org` over this many unchanged repositories.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from p2pqwen.demo.hub_call import Call  # noqa: E402
from p2pqwen.demo.hub_repository import StoredFile  # noqa: E402
from p2pqwen.library.hashing import hash_files  # noqa: E402
from p2pqwen.torrent.layout import Layout  # noqa: E402
from p2pqwen.values.repo_path import RepoPath  # noqa: E402
from tests.simulators.hub import HubSimulator, Line  # noqa: E402
from tests.support.memory import peak_of  # noqa: E402
from tests.support.models import ATTRIBUTES, README  # noqa: E402
from tests.support.slow_disk import slow_disk  # noqa: E402

REPO = "Qwen/Bench"
AIMS = {"Xet": 1.05, "plain HTTP": 1.1}
MEMORY_AIM = 600e6
REQUESTS_AIM = 2


STAGES = ("start to the first request", "to a large file's first byte", "to their last byte", "to the end")
LARGE = frozenset({"cdn", "xorb"})


@dataclass(frozen=True, slots=True)
class Stage:
    """Wall-clock seconds, and CPU seconds: of the program with all that it starts, and of the Hub."""

    seconds: float
    processors: float
    hub: float
    requests: int


@dataclass(frozen=True, slots=True)
class Took:
    """Wall-clock and CPU seconds, and their stages, in the order of `STAGES`."""

    seconds: float
    processors: float
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """`hf download` and `p2pqwen preserve`, one right after the other."""

    download: Took
    preserve: Took

    @property
    def ratio(self) -> float:
        return self.preserve.seconds / self.download.seconds


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, and the CPU seconds and requests until then."""

    at: float
    processors: float
    hub: float
    requests: int


class WatchedHub(HubSimulator):
    """Records the times of a client's first request, and of the first and last byte of large files sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = 0
        self.moments: dict[str, Moment] = {}

    def begin(self, pid: int) -> None:
        """Watch a client from here on."""
        self.log.clear()
        self.moments.clear()
        self.pid = pid
        self.note("begun")

    def note(self, what: str) -> None:
        self.moments[what] = Moment(time.perf_counter(), processors_of(self.pid), time.process_time(), len(self.log))

    async def answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        if "asked" not in self.moments:
            self.note("asked")
        return await super().answer(request, call)

    async def write_body(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        call: Call,
        file: StoredFile,
        span: tuple[int, int],
    ) -> None:
        if call.kind in LARGE and "first" not in self.moments:
            self.note("first")
        await super().write_body(request, response, call, file, span)
        if call.kind in LARGE:
            self.note("last")

    def stages(self, seconds: float, processors: float) -> tuple[Stage, ...]:
        """Return the stages of a client that has ended."""
        begun = self.moments["begun"]
        ended = Moment(begun.at + seconds, processors, time.process_time(), len(self.log))
        marks = [begun, *(self.moments[name] for name in ("asked", "first", "last")), ended]
        return tuple(
            Stage(
                later.at - earlier.at,
                max(0.0, later.processors - earlier.processors),
                later.hub - earlier.hub,
                later.requests - earlier.requests,
            )
            for earlier, later in itertools.pairwise(marks)
        )


def processors_of(pid: int) -> float:
    """Return the CPU seconds of a process and of all that it has started, ended ones included."""
    found, total = [pid], 0
    while found:
        one = Path(f"/proc/{found.pop()}")
        with suppress(OSError, ValueError, IndexError):
            total += sum(map(int, (one / "stat").read_text().rpartition(")")[2].split()[11:15]))
            found += [
                int(name) for task in (one / "task").iterdir() for name in (task / "children").read_text().split()
            ]
    return total / os.sysconf("SC_CLK_TCK")


def make_snapshot(folder: Path, size: int, shards: int, *, sparse: bool = False) -> None:
    """Write a snapshot of `shards` files of equal size and random bytes; `sparse`: zeros after the first ones."""
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


def timed(arguments: list[str], environment: dict[str, str], hub: WatchedHub | None = None) -> Took:
    """Run a program and return what it took, with all that it started."""
    begun = time.perf_counter()
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if hub is not None:
        hub.begin(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    seconds, processors = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime
    return Took(seconds, processors, () if hub is None else hub.stages(seconds, processors))


def one_pair(work: Path, hub: WatchedHub, *, preserve_first: bool) -> Pair:
    """Run both, each into an empty place, after syncing the disk."""
    environment = environment_of(work, hub.endpoint)
    programs = {"hf": [str(Path(sys.executable).parent / "hf"), "download", REPO], "p2pqwen": preserve(REPO)}
    took = {}
    for name in sorted(programs, reverse=preserve_first):
        os.sync()
        took[name] = timed(programs[name], environment, hub)
        for folder in ("hf-cache", "hf-home", "home"):
            shutil.rmtree(work / folder, ignore_errors=True)
    return Pair(took["hf"], took["p2pqwen"])


def machine() -> str:
    where = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {where}, load {os.getloadavg()[0]:.1f}"


def speed(wanted: argparse.Namespace, work: Path) -> None:
    with WatchedHub() as hub:
        hub.xet.served = not wanted.no_xet
        make_snapshot(work / "src", int((wanted.gigabytes or 2) * 1e9), wanted.shards or 4)
        hub.add(REPO, work / "src")
        one_pair(work, hub, preserve_first=False)  # warms up: reads programs and files for the first time
        if wanted.hub_rate:
            hub.line = Line(wanted.hub_rate * 1e6)
        pairs = [one_pair(work, hub, preserve_first=bool(number % 2)) for number in range(wanted.rounds)]
    way = "plain HTTP" if wanted.no_xet else "Xet"
    rate = f", line of {wanted.hub_rate:g} MB/s" if wanted.hub_rate else ", Hub unlimited on the same cores"
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
    if wanted.stages:
        show_stages(pairs)
        show_floor([one.download for one in pairs], hashing_alone(work / "src"))


def show_stages(pairs: Sequence[Pair]) -> None:
    """Print the medians of each stage, and how many cores the program and the Hub kept busy in it."""
    print(f"{'':<30}{'hf download':>31}{'p2pqwen preserve':>35}")
    print(f"{'stage':<30}" + f"{'seconds  program  Hub  requests':>33}" * 2)
    for number, name in enumerate(STAGES):
        cells = ""
        for of in ([one.download.stages[number] for one in pairs], [one.preserve.stages[number] for one in pairs]):
            seconds = statistics.median(one.seconds for one in of)
            program = statistics.median(one.processors / one.seconds for one in of)
            hub = statistics.median(one.hub / one.seconds for one in of)
            asked = statistics.median(one.requests for one in of)
            cells += f"{seconds:10.2f} {program:8.2f} {hub:4.2f} {asked:8.0f} "
        print(f"{name:<30}{cells}")


def show_floor(downloads: Sequence[Took], hashing: float) -> None:
    """Print what the CPUs allow: the program and the Hub share them, and hashing comes on top."""
    seconds = statistics.median(one.seconds for one in downloads)
    processors = statistics.median(one.processors + sum(stage.hub for stage in one.stages) for one in downloads)
    cores = len(os.sched_getaffinity(0))
    least = max(1.0, (processors + hashing) / cores / seconds)
    print(
        f"hashing the same bytes alone: {hashing:.2f} processor seconds; hf download and the Hub: {processors:.2f}\n"
        f"so with {cores} cores busy all the time the ratio is at least {least:.2f}"
    )


def hashing_alone(folder: Path) -> float:
    """Return the CPU seconds for every digest of a folder's files, which are in the page cache."""
    paths = [RepoPath(path.name) for path in folder.iterdir()]
    layout = Layout.of((path, (folder / path.text).stat().st_size) for path in paths)
    begun = processors_of(os.getpid())
    hash_files(folder, layout, lfs=[path for path in paths if path.text.endswith(".safetensors")])
    return processors_of(os.getpid()) - begun


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
    parser.add_argument("--hub-rate", type=float, help="MB/s of the line to the Hub")
    parser.add_argument("--stages", action="store_true", help="show what the time is made of")
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
