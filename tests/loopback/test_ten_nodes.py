"""Ten nodes with different disks and no coordinator adopt from one index, and nothing is left to one of them alone."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.archive import archive, node_of
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

SIZES = [1000 * size for size in (40, 60, 80, 110, 150, 200, 260, 330, 400)]
SHARES = (0.35, 0.9, 0.2, 0.5, 0.25, 0.6, 0.12, 0.75, 0.3, 0.4)
"""Of the archive, that each node has room for."""
AT_ONCE = 5
"""So many choose at the same time, and know nothing of one another's choices."""


def adopt(user, budget):
    with running(p2pqwen("adopt", "--budget", str(budget), "--json"), user.environment) as command:
        assert command.wait(150) == 0, command.stdout + command.stderr
        return json.loads(command.stdout)


@pytest.mark.timeout(600)
def test_every_snapshot_has_two_holders_where_the_budgets_allow_it(tmp_path):
    with contextlib.ExitStack() as running_nodes:
        made = running_nodes.enter_context(archive(tmp_path, SIZES))
        first = running_nodes.enter_context(node_of(made.publisher.user))
        wait_until(lambda: first.stdout.count('"seeding"') == len(SIZES), 90, "the publisher seeds")
        people = [made.person(f"person-{number}") for number in range(len(SHARES))]
        budgets = [round(share * made.total) for share in SHARES]
        plans = []
        with ThreadPoolExecutor(AT_ONCE) as at_once:
            nodes = list(at_once.map(running_nodes.enter_context, map(node_of, people)))
            for start in range(0, len(people), AT_ONCE):
                wave = slice(start, start + AT_ONCE)
                plans += at_once.map(adopt, people[wave], budgets[wave])
        holders = Counter()
        for user, node, budget, plan in zip(people, nodes, budgets, plans, strict=True):
            snapshots = user.ok("list")["snapshots"]
            assert {one["state"] for one in snapshots} == {"complete"}
            assert sum(one["size"] for one in snapshots) == plan["bytes"] <= budget
            count = len(snapshots)
            wait_until(lambda: node.stdout.count('"event": "seeding"') == count, 60, "the node seeds it all")  # noqa: B023
            holders.update(one["repo"] for one in snapshots)
    for repo, size in made.sizes.items():
        could = sum(size <= budget for budget in budgets)
        assert holders[repo] >= min(2, could), holders
