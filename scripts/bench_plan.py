#!/usr/bin/env python3
"""Measure the time and memory of choosing what to hold, `adopt` and `rebalance`, over large indexes.

    scripts/bench_plan.py [ENTRIES…]      default: 10000 100000

It measures from swarms and their records to a plan with a reason for each snapshot; scripts/bench_index.py measures
reading the index. Aims for 100,000: each plan in less than 2 s of one core, the process within 500 MB. Exit 1 if one is
missed. The reference is Python's `sorted` of the same candidates, twice, by keys like the rule's: danger and size.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.listing import Columns  # noqa: E402
from p2pqwen.index.upstream import Upstream  # noqa: E402 - the project's root must be found first
from p2pqwen.operations.archive.adopt import Wishes  # noqa: E402
from p2pqwen.operations.archive.listed import Listed  # noqa: E402
from p2pqwen.operations.archive.outlook import Outlook  # noqa: E402
from p2pqwen.operations.archive.rebalance import plan_rebalance  # noqa: E402
from p2pqwen.stewardship.allocation import Disk  # noqa: E402
from p2pqwen.stewardship.danger import danger_key  # noqa: E402
from p2pqwen.stewardship.swarm_health import Day, Sighting, Source  # noqa: E402
from p2pqwen.stewardship.swarm_record import SwarmRecord  # noqa: E402
from p2pqwen.values.digest import CommitId  # noqa: E402
from p2pqwen.values.snapshot_id import RepoId, SnapshotId  # noqa: E402

AIM_SECONDS, AIM_BYTES, AIM_ENTRIES = 2.0, 500e6, 100_000
RUNS = 3
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BUDGET = 2 * 10**12


def swarm(number: int, chance: random.Random) -> tuple[SnapshotId, int, Upstream, SwarmRecord]:
    """Return a listed snapshot of a realistic size, with sightings for a week."""
    snapshot = SnapshotId(RepoId(f"Org{number % 50}/Model-{number // 4}"), CommitId(number.to_bytes(20)))
    size = min(10**12, int(chance.lognormvariate(23.2, 1.6)))
    seeds = int(chance.paretovariate(0.9)) - 1
    days = tuple(Day((NOW - timedelta(days=age)).date(), seeds, seeds) for age in reversed(range(7)))
    record = SwarmRecord((Sighting(NOW - timedelta(hours=1), Source.TRACKER, seeds, seeds + 1),), days, NOW)
    return snapshot, size, chance.choice((Upstream.PRESENT, Upstream.PRESENT, Upstream.GONE)), record


def child(entries: int) -> None:
    """Plan in this process and print the figures."""
    chance = random.Random(7)
    made = sorted((swarm(number, chance) for number in range(entries)), key=itemgetter(0))
    records = {snapshot: record for snapshot, _, _, record in made}
    columns = Columns(
        [str(snapshot) for snapshot, _, _, _ in made],
        [size for _, size, _, _ in made],
        [None] * entries,
        [upstream for _, _, upstream, _ in made],
    )
    del made
    listing = SimpleNamespace(columns=lambda: [columns])
    publisher: Any = SimpleNamespace(accepted=SimpleNamespace(document=SimpleNamespace(listing=listing)))
    seconds: dict[str, list[float]] = {"adopt": [], "rebalance": [], "reference": []}

    def outlook() -> Outlook:
        disks = [Disk("a", 10**12), Disk("b", 2 * 10**12)]
        return Outlook(Listed([publisher], ()), records, {}, {}, b"\7" * 32, disks, NOW)

    for _ in range(RUNS):
        started = time.process_time()
        plan = outlook().plan(Wishes(exclude=("*-draft",)), BUDGET)
        seconds["adopt"].append(time.process_time() - started)
        assert len(plan.chosen) + len(plan.allocation.others) == entries
        assert 0 < plan.allocation.size <= BUDGET
        started = time.process_time()
        plan_rebalance(outlook(), Wishes(), BUDGET)
        seconds["rebalance"].append(time.process_time() - started)
        offers = outlook().offers(Wishes())
        candidates = [offers.candidate(place) for place in offers.order]
        started = time.process_time()
        sorted(candidates, key=lambda one: danger_key(one.snapshot, one.size, one.health, NOW))
        sorted(candidates, key=lambda one: one.size)
        seconds["reference"].append(time.process_time() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({name: min(some) for name, some in seconds.items()} | {"memory": memory}))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
        return
    missed = False
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    for entries in [int(one) for one in sys.argv[1:]] or [10_000, AIM_ENTRIES]:
        answer = subprocess.run(
            [sys.executable, __file__, "--child", str(entries)], stdout=subprocess.PIPE, check=True, cwd=ROOT
        )
        found = json.loads(answer.stdout)
        for name in ("adopt", "rebalance"):
            ratio = found[name] / found["reference"]
            print(
                f"{entries:>7} entries, {name:<9}  {found[name]:5.2f} s, {found['memory'] / 1e6:4.0f} MB, "
                f"{ratio:4.1f} x two sorts"
            )
            missed |= entries == AIM_ENTRIES and (found[name] > AIM_SECONDS or found["memory"] > AIM_BYTES)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
