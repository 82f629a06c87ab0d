"""Run numbered faults; `scripts/fault_run` starts it."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.simulators.peer import PeerNetwork
from tests.support.command import CommandLine
from tests.support.faults.damage import DamagePlan, Damager
from tests.support.faults.flips import Flipper, FlipPlan
from tests.support.faults.full_disk import FullDisk, FullDiskPlan, small_disks
from tests.support.faults.links import LinksPlan, LinksRuns
from tests.support.faults.scenery import scenery
from tests.support.faults.strikes import StrikePlan, Striker
from tests.support.faults.swarms import SwarmPlan
from tests.support.faults.swarms import run as run_swarm
from tests.support.hostile import Strangers
from tests.support.swarm import seeding

Run = Callable[[int], tuple[str, list[str]]]
"""Run a number; return a word for the summary, and the problems."""


def _outcome(outcome: Any) -> tuple[str, list[str]]:
    plan = outcome.plan
    where = getattr(plan, "work", None) or getattr(plan, "template", None) or "swarm"
    return f"{where}, exit codes {' '.join(map(str, outcome.ends))}", [*outcome.problems, *outcome.notes]


@contextmanager
def strikes(folder: Path, plan: Callable[[int], StrikePlan]) -> Iterator[Run]:
    with scenery(folder) as scene:
        striker = Striker(scene)
        yield lambda number: _outcome(striker.run(plan(number)))


@contextmanager
def full_disks(folder: Path) -> Iterator[Run]:
    with scenery(folder) as scene, small_disks(folder / "disks") as disks:
        if disks is None:
            raise SystemExit("this machine does not let us mount a small file system")
        full = FullDisk(scene, disks)
        yield lambda number: _outcome(full.run(FullDiskPlan.of(number)))


@contextmanager
def flips(folder: Path) -> Iterator[Run]:
    with scenery(folder) as scene:
        flipper = Flipper(scene)

        def run(number: int) -> tuple[str, list[str]]:
            done = flipper.run(FlipPlan.of(number))
            return f"{done.plan.kind}: {done.found}", [] if done.right else [str(done)]

        yield run


@contextmanager
def damages(folder: Path) -> Iterator[Run]:
    with scenery(folder) as scene:
        damager = Damager(scene)
        yield lambda number: _outcome(damager.run(DamagePlan.of(number)))


@contextmanager
def swarms(folder: Path) -> Iterator[Run]:
    with PeerNetwork() as network:
        strangers = Strangers(folder, network)
        with seeding(CommandLine(folder / "keeper")) as (_, seed):
            yield lambda number: _outcome(run_swarm(SwarmPlan.of(number), strangers, seed))


@contextmanager
def links(folder: Path) -> Iterator[Run]:
    with small_disks(folder / "disks") as disks, ExitStack() as stack:
        if disks is None:
            raise SystemExit("this machine does not let us mount a small file system")
        runs = LinksRuns(disks, stack)

        def run(number: int) -> tuple[str, list[str]]:
            done = runs.run(LinksPlan.of(number))
            engine = "libtorrent" if done.plan.real else "a hostile engine"
            return f"{engine} on {done.plan.disk}", [*done.problems, *(done.steps if done.problems else ())]

        yield run


# Each with the default number of runs, and of concurrent runs: 1 if all share one home or one disk.
KINDS = {
    "kill": (partial(strikes, plan=StrikePlan.kill), 2000, 3),
    "disk": (partial(strikes, plan=StrikePlan.disk), 500, 3),
    "full-disk": (full_disks, 100, 1),
    "flip": (flips, 10_000, 1),
    "damage": (damages, 1000, 3),
    "swarm": (swarms, 200, 3),
    "links": (links, 2000, 1),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fault_run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int, nargs="?", help="how many runs (default: as tests/README.md says)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first run")
    parser.add_argument("--at-once", type=int, metavar="N", help="runs at the same time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so many seconds")
    given = parser.parse_args()
    # A script's background jobs ignore SIGINT, and the commands that are interrupted here would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    make, count, at_once = KINDS[given.kind]
    if at_once == 1 and given.at_once not in {None, 1}:
        parser.error(f"{given.kind}: one run at a time, they share what they damage")
    numbers = range(given.first, given.first + (count if given.count is None else given.count))
    summary, bad = Counter[str](), 0
    with (
        tempfile.TemporaryDirectory(prefix="p2pqwen-faults-") as folder,
        make(Path(folder)) as run,
        ThreadPoolExecutor(given.at_once or at_once) as pool,
    ):
        started = time.monotonic()

        def in_time(number: int) -> tuple[str, list[str]] | None:
            return run(number) if time.monotonic() - started < given.seconds else None

        for number, outcome in zip(numbers, pool.map(in_time, numbers), strict=True):
            if outcome is None:
                continue
            word, problems = outcome
            summary[word] += 1
            bad += bool(problems)
            for problem in problems:
                print(f"{given.kind} {number}: {problem}", flush=True)
    for word, times in sorted(summary.items()):
        print(f"{times:7}  {word}")
    print(f"{summary.total()} runs of {given.kind} in {time.monotonic() - started:.0f} s, {bad} with something wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
