#!/usr/bin/env python3
"""How long choosing what to hold takes, `adopt` and `rebalance`, over large indexes, and how much memory.

    scripts/bench_plan.py [ENTRIES…]      default: 10000 100000

From swarms and their memory to a plan with a reason for each snapshot; reading the index is scripts/bench_index.py.
Aims for 100,000: each plan in less than 2 s of one core, the process within 500 MB. Exit 1 if one is missed. The
reference is Python's own `sorted` of the same candidates, twice, by keys of the kind the rule has: danger and size.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.entry import Upstream  # noqa: E402 - the project's root must be found first
from p2pqwen.operations.archive.adopt import Situation, Wishes, plan_adoption  # noqa: E402
from p2pqwen.operations.archive.rebalance import plan_rebalance  # noqa: E402
from p2pqwen.operations.archive.watched import WatchedSwarm, health_rows  # noqa: E402
from p2pqwen.stewardship.allocation import Disk  # noqa: E402
from p2pqwen.stewardship.danger import danger_key  # noqa: E402
from p2pqwen.stewardship.swarm_health import Day, Sighting, Source  # noqa: E402
from p2pqwen.stewardship.swarm_record import SwarmRecord  # noqa: E402
from p2pqwen.torrent.infohash import InfoHash  # noqa: E402
from p2pqwen.values.digest import CommitId, Sha1, Sha256  # noqa: E402
from p2pqwen.values.snapshot_id import RepoId, SnapshotId  # noqa: E402

AIM_SECONDS, AIM_BYTES, AIM_ENTRIES = 2.0, 500e6, 100_000
RUNS = 3
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BUDGET = 2 * 10**12


def swarm(number: int, chance: random.Random) -> tuple[WatchedSwarm, SwarmRecord]:
    """A listed snapshot of a real-looking size, looked at for a week."""
    snapshot = SnapshotId(RepoId(f"Org{number % 50}/Model-{number // 4}"), CommitId(number.to_bytes(20)))
    size = min(10**12, int(chance.lognormvariate(23.2, 1.6)))
    hashes = InfoHash(Sha1(number.to_bytes(20)), Sha256(number.to_bytes(32)))
    seeds = int(chance.paretovariate(0.9)) - 1
    days = tuple(Day((NOW - timedelta(days=age)).date(), seeds, seeds) for age in reversed(range(7)))
    record = SwarmRecord((Sighting(NOW - timedelta(hours=1), Source.TRACKER, seeds, seeds + 1),), days, NOW)
    upstream = chance.choice((Upstream.PRESENT, Upstream.PRESENT, Upstream.GONE))
    return WatchedSwarm(snapshot, hashes, size, upstream=upstream, listed=True), record


def child(entries: int) -> None:
    """Plan in this process and print the figures."""
    chance = random.Random(7)
    made = [swarm(number, chance) for number in range(entries)]
    swarms, records = [one for one, _ in made], {one.snapshot: record for one, record in made}
    del made
    seconds: dict[str, list[float]] = {"adopt": [], "rebalance": [], "reference": []}
    for _ in range(RUNS):
        started = time.process_time()
        rows = health_rows(swarms, records, {}, NOW)
        situation = Situation(rows, b"\7" * 32, [Disk("a", 10**12), Disk("b", 2 * 10**12)], NOW)
        plan = plan_adoption(situation, Wishes(exclude=("*-draft",)), BUDGET)
        seconds["adopt"].append(time.process_time() - started)
        assert len(plan.chosen) + len(plan.allocation.others) == entries
        assert 0 < plan.allocation.size <= BUDGET
        started = time.process_time()
        plan_rebalance(
            Situation(health_rows(swarms, records, {}, NOW), situation.node, situation.disks, NOW), Wishes(), BUDGET
        )
        seconds["rebalance"].append(time.process_time() - started)
        candidates = situation.candidates(Wishes())
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
