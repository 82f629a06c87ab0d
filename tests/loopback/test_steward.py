"""`adopt`, `rebalance`, `pin` through the command line, with real fetches by way of a real tracker."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.index.upstream import Upstream
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.stewardship.rebalance import Holding, why_kept
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import health_of, remember
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.archive import CONFIG, archive, node_of
from tests.support.command import CommandLine
from tests.support.waiting import wait_until

SIZES = [200_000, 300_000, 400_000, 500_000]
LONG_AGO = (datetime.now(UTC) - timedelta(days=100)).timestamp()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with archive(tmp_path_factory.mktemp("archive"), SIZES) as found, node_of(found.publisher.user) as node:
        wait_until(lambda: node.stdout.count('"seeding"') == len(SIZES), 60, "the publisher seeds")
        yield found


def repos(rows):
    return sorted(row["repo"] for row in rows)


def held(user):
    return {row["repo"]: row["commit"] for row in user.ok("list")["snapshots"] if row["state"] == "complete"}


def snapshot(number):
    return SnapshotId(RepoId(f"Qwen/Model-{number}"), CommitId.parse(f"{number:040x}"))


def test_a_plan_is_explained_and_the_same_each_time_and_does_nothing(made):
    user = made.person("planner")
    plan = user.ok("adopt", "--budget", "1MB", "--dry-run")
    assert plan["budget"] == 1_000_000
    assert plan["bytes"] == sum(row["size"] for row in plan["chosen"]) <= 1_000_000
    assert repos(plan["chosen"] + plan["others"]) == sorted(made.sizes)
    assert all(row["reason"] and row["commit"] for row in plan["chosen"] + plan["others"])
    assert "1 copy seen" in plan["chosen"][0]["reason"]
    assert user.ok("adopt", "--budget", "1MB", "--dry-run") == plan
    assert user.ok("list")["snapshots"] == []
    text = user.run("adopt", "--budget", "1MB", "--dry-run").stdout
    assert text.count("fetch   Qwen/") == len(plan["chosen"])
    assert "nothing was done (--dry-run)" in text


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (("--exclude", "Model-[0-2]"), [3]),
        (("--exclude", "Qwen/*"), []),
        (("--prefer", "Model-2", "--prefer", "Qwen/Model-3"), [2, 3]),
    ],
)
def test_wishes(made, options, chosen):
    user = made.person(f"wishes-{'-'.join(map(str, chosen))}")
    plan = user.ok("adopt", "--budget", "950kB", "--dry-run", "--look-seconds", "0", *options)
    assert repos(plan["chosen"]) == [f"Qwen/Model-{number}" for number in chosen]


def test_reserves_of_disks_are_left_free(made):
    user = made.person("full", CONFIG + '[library]\nreserve = "9000TB"\n')
    plan = user.ok("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0")
    assert plan["chosen"] == []
    assert all("no disk has room" in row["reason"] for row in plan["others"])


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--budget", "a lot"), 2), ((), 2), (("--budget", "1GB"), 4), (("--budget", "1", "x"), 2)]
)
def test_what_cannot_be(tmp_path, arguments, code):
    assert CommandLine(tmp_path).run("adopt", *arguments).code == code


def test_adopted_snapshots_are_fetched_verified_and_counted(made):
    user = made.person("alone")
    first = user.ok("adopt", "--budget", "600kB")
    assert repos(first["fetched"]) == repos(first["chosen"]) == sorted(held(user))
    assert first["failed"] == []
    more = user.ok("adopt", "--budget", "2MB")
    assert more["used"] == first["bytes"]
    assert set(repos(more["fetched"])) == set(made.sizes) - set(repos(first["chosen"]))
    assert sorted(held(user)) == sorted(made.sizes)
    for repo, commit in held(user).items():
        assert user.ok("verify", f"{repo}@{commit}")["ok"]
    last = user.ok("adopt", "--budget", "2MB")
    assert (last["chosen"], last["fetched"], last["used"]) == ([], [], made.total)
    assert {row["reason"] for row in last["others"]} == {"held already"}


def test_a_running_node_fetches_and_seeds_what_is_adopted(made):
    user = made.person("with-a-node")
    with node_of(user) as node:
        done = user.ok("adopt", "--budget", "2MB")
        assert repos(done["fetched"]) == sorted(made.sizes)
        wait_until(lambda: node.stdout.count('"event": "seeding"') == len(SIZES), 60, "the node seeds what it adopted")


@pytest.mark.parametrize("with_node", [False, True])
def test_what_nobody_gives_fails_honestly(made, with_node, tmp_path):
    user = made.person(f"starving-{with_node}")
    options = (
        "--budget",
        "2MB",
        "--exclude",
        "Model-[1-3]",
        "--no-trackers",
        "--timeout",
        "2",
        "--look-seconds",
        "0",
        "--json",
    )
    if with_node:
        with node_of(user, "--no-trackers"):
            ended = user.run("adopt", *options)
    else:
        ended = user.run("adopt", *options)
    assert ended.code == 5
    assert (repos(ended.json["failed"]), ended.json["fetched"]) == (["Qwen/Model-0"], [])
    assert ended.json["failed"][0]["reason"]
    assert held(user) == {}


def test_a_pinned_snapshot_is_not_removed(made):
    user = made.person("pinning")
    user.ok("adopt", "--budget", "250kB")
    target = f"Qwen/Model-0@{0:040x}"
    assert user.ok("pin", target)["pinned"] is True
    refused = user.run("remove", target, "--yes")
    assert (refused.code, "pinned" in refused.stderr, "unpin" in refused.stderr) == (1, True, True)
    assert "Qwen/Model-0" in held(user)
    with node_of(user):
        assert user.run("remove", target, "--yes").code == 1
        assert user.ok("unpin", target)["pinned"] is False
        assert user.ok("pin", target)["pinned"] is True
    assert user.ok("unpin", target)["pinned"] is False
    assert user.run("pin", "Qwen/Nowhere").code == 4
    user.ok("remove", target, "--yes")
    assert held(user) == {}


def holder(made, name):
    """Somebody who long holds Model-0, which fifty others hold, while Model-1 has one copy left."""
    user = made.person(name)
    user.ok("adopt", "--budget", "250kB")
    assert list(held(user)) == ["Qwen/Model-0"]
    torrent = user.home / "library/Qwen/Model-0" / f"{0:040x}.torrent"
    os.utime(torrent, (LONG_AGO, LONG_AGO))
    now = datetime.now(UTC)
    with StateStore(user.home / "state.sqlite") as store:
        seeds = {snapshot(0): 50, snapshot(1): 1, snapshot(2): 50, snapshot(3): 50}
        HealthStore(store).change(
            {
                one: lambda before, count=count: remember(before, [Sighting(now, Source.DHT, count, count)])
                for one, count in seeds.items()
            }
        )
        record = HealthStore(store).all()[snapshot(0)]
        long_held = Holding(snapshot(0), 1, now - timedelta(days=100), health_of(record, Upstream.UNKNOWN, now))
        whose_turn = next(
            node for number in range(1000) if why_kept(long_held, node := number.to_bytes(32), now) is None
        )
        store.update("steward", lambda value: {**value, "node": whose_turn.hex()})
    return user


REBALANCE = ("rebalance", "--look-seconds", "0", "--budget", "350kB")


def test_a_well_kept_snapshot_makes_room_for_an_endangered_one(made):
    user = holder(made, "rebalancing")
    plan = user.ok(*REBALANCE, "--dry-run")
    assert (repos(plan["take"]), repos(plan["give"]), plan["kept"]) == (["Qwen/Model-1"], ["Qwen/Model-0"], [])
    assert "copies remain without this one" in plan["give"][0]["reason"]
    assert list(held(user)) == ["Qwen/Model-0"]
    refused = user.run(*REBALANCE)  # nobody to ask
    assert (refused.code, "--yes" in refused.stderr) == (2, True)
    assert list(held(user)) == ["Qwen/Model-0"]
    done = user.ok(*REBALANCE, "--yes")
    assert (repos(done["taken"]), repos(done["given"]), done["failed"]) == (["Qwen/Model-1"], ["Qwen/Model-0"], [])
    assert list(held(user)) == ["Qwen/Model-1"]
    again = user.ok(*REBALANCE, "--yes")  # what has just come stays
    assert (again["take"], again["give"]) == ([], [])
    assert "held for less than" in again["kept"][0]["reason"]


def test_a_running_node_exchanges_as_well(made):
    user = holder(made, "rebalancing-node")
    with node_of(user) as node:
        node.line(60, containing='"seeding"')
        done = user.ok(*REBALANCE, "--yes")
        assert (repos(done["taken"]), repos(done["given"])) == (["Qwen/Model-1"], ["Qwen/Model-0"])
        node.line(60, containing='"removed"')
    assert list(held(user)) == ["Qwen/Model-1"]


def test_what_must_stay_stays(made):
    user = holder(made, "keeping")
    user.ok("pin", "Qwen/Model-0")
    kept = user.ok(*REBALANCE, "--yes")
    assert (kept["take"], kept["give"], kept["kept"][0]["reason"]) == ([], [], "pinned")
    user.ok("unpin", "Qwen/Model-0")
    with StateStore(user.home / "state.sqlite") as store:
        store.delete(f"health/{snapshot(0)}")
    kept = user.ok(*REBALANCE, "--yes")
    assert (kept["give"], "its swarm was not checked" in kept["kept"][0]["reason"]) == ([], True)
    assert list(held(user)) == ["Qwen/Model-0"]


def test_nothing_is_given_up_for_what_does_not_come(made):
    user = holder(made, "failing")
    ended = user.run(*REBALANCE, "--yes", "--no-trackers", "--timeout", "2", "--json")
    assert ended.code == 5
    assert (ended.json["taken"], ended.json["given"]) == ([], [])
    assert repos(ended.json["failed"]) == ["Qwen/Model-1"]
    assert "Qwen/Model-0" in held(user)


def test_licenses_are_shown_before_anything_is_adopted_and_may_be_asked_for(made):
    user = made.person("licensed")
    plan = user.ok("adopt", "--budget", "1GB", "--license", "mit", "--dry-run", "--look-seconds", "0")
    assert plan["chosen"] == []
    assert {row["reason"] for row in plan["others"]} == {"license apache-2.0, wanted mit"}
    options = ("--budget", "250kB", "--license", "Apache-*", "--look-seconds", "0", "--json")
    done = user.run("adopt", *options)
    assert [row["license"] for row in done.json["chosen"]] == ["apache-2.0"]
    shown = [line for line in done.stderr.splitlines() if line.startswith("fetch   Qwen/Model-0@")]
    assert ["apache-2.0" in line for line in shown] == [True], done.stderr
