"""A withdrawal holds: in the next index, on the site, in the bundle, at the publisher's node and at followers."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import Sha256
from tests.support.command import CommandLine
from tests.support.keeper import TINY, World
from tests.support.nodes import quiet_config, row, seeding
from tests.support.snapshots import hold
from tests.support.waiting import wait_until

WHY = "the licence was withdrawn upstream"
COMMIT = TINY.partition("@")[2]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    quiet_config(world.keeper)
    return world


def withdraw(world: World, name: str = TINY) -> dict[str, Any]:
    return world.publish("--withdraw", name, "--reason", WHY, "--no-dht")


def torrent_of(world: World) -> Path:
    return world.site / f"{TINY.replace('@', '/')}.torrent"


def test_the_next_publish_leaves_it_out_and_reinstating_it_is_a_word_of_its_own(world: World):
    world.publish()
    withdraw(world)
    again = world.keeper.run("publish", "--out", world.site, "--json")
    assert (again.code, again.json["entries"], again.json["version"]) == (0, 0, 3), again
    assert [(one["commit"], WHY in one["reason"]) for one in again.json["skipped"]] == [(COMMIT, True)]
    assert "--reinstate" in again.stderr
    assert [one["reason"] for one in world.index["signed"]["withdrawn"]] == [WHY]

    refused = world.keeper.run("publish", "--out", world.site, "--reinstate", TINY)
    assert (refused.code, WHY in refused.stderr, "--yes" in refused.stderr) == (2, True, True), refused
    assert world.index["signed"]["version"] == 3
    back = world.keeper.run("publish", "--out", world.site, "--reinstate", TINY, "--yes", "--json")
    assert (back.code, back.json["entries"]) == (0, 1), back
    assert "reinstated" in back.stderr
    assert world.index["signed"]["withdrawn"] == []
    assert torrent_of(world).is_file()


def test_its_torrent_leaves_the_site_and_the_bundle_and_nothing_leaves_the_library(world: World):
    hold(Home(world.keeper.home), repo="Qwen/Other")
    world.publish()
    bundles, publisher = BundleStore(Home(world.keeper.home)), Sha256.parse(world.id)
    assert torrent_of(world).is_file()
    withdraw(world)
    assert not torrent_of(world).exists()
    assert [one["repo"] for one in world.index["signed"]["entries"]] == ["Qwen/Other"]
    shared = {file.path.text for held in bundles.all(publisher) for file in held.metainfo().files}
    assert {name.partition("/")[2].partition("/")[0] for name in shared} == {"", "Other"}
    assert world.held.torrent_path.is_file()
    assert {one["repo"] for one in world.keeper.ok("list")["snapshots"]} == {"Qwen/Tiny", "Qwen/Other"}


def test_what_has_left_the_library_comes_back_from_what_was_published(world: World):
    world.publish("--tracker", "udp://t.example:1/announce")
    world.keeper.ok("remove", TINY, "--yes")
    withdraw(world)
    world.publish("--reinstate", TINY, "--yes", "--tracker", "udp://t.example:1/announce")
    (entry,) = world.index["signed"]["entries"]
    torrent = parse_metainfo(torrent_of(world).read_bytes())
    assert str(torrent.infohash.v2) == entry["infohash_v2"]
    assert (torrent.web_seeds, torrent.trackers) == (tuple(entry["web_seeds"]), (("udp://t.example:1/announce",),))
    shutil.rmtree(world.keeper.home / "keys" / "torrents")
    withdraw(world)
    lost = world.keeper.run("publish", "--out", world.site, "--reinstate", TINY, "--yes")
    assert (lost.code, "p2pqwen preserve" in lost.stderr) == (4, True), lost


def test_a_repository_without_its_commit_is_enough_where_it_names_one(world: World):
    world.publish()
    withdraw(world, "Qwen/Tiny")
    assert [one["commit"] for one in world.index["signed"]["withdrawn"]] == [COMMIT]
    already = world.keeper.run("publish", "--out", world.site, "--withdraw", "Qwen/Tiny", "--reason", "x")
    assert (already.code, f"withdrawn already: {WHY}" in already.stderr) == (4, True), already
    assert "run it again without this option" in already.stderr  # an interrupted one may have signed, and not written
    world.publish("--reinstate", f"Qwen/Tiny@{COMMIT[:8]}", "--yes")
    assert [one["commit"] for one in world.index["signed"]["entries"]] == [COMMIT]


def test_a_repository_of_two_commits_lists_them(world: World):
    second = hold(Home(world.keeper.home), {"model.bin": b"another commit"})
    world.publish()
    ended = world.keeper.run("publish", "--out", world.site, "--withdraw", "Qwen/Tiny", "--reason", WHY)
    assert (ended.code, TINY in ended.stderr, str(second.id) in ended.stderr) == (2, True, True), ended
    assert world.index["signed"]["version"] == 1


def test_fetch_says_that_it_is_withdrawn_and_why(world: World):
    world.publish()
    reader = world.reader()
    withdraw(world)
    updated = reader.run("index", "update")
    assert f"Test Keep has withdrawn {TINY}: {WHY}" in updated.stderr
    assert WHY not in reader.run("index", "update").stderr
    for target in (TINY, "Qwen/Tiny"):
        ended = reader.run("fetch", target, "--json")
        assert (ended.code, "withdrawn by Test Keep" in ended.stderr, WHY in ended.stderr) == (4, True, True), ended
        assert WHY in ended.json["error"]["what"]
    unknown = reader.run("fetch", f"Qwen/Tiny@{'1' * 40}")
    assert (unknown.code, WHY in unknown.stderr) == (4, False)


def test_list_says_what_is_withdrawn_with_a_node_and_without(world: World):
    world.publish()
    assert world.keeper.ok("list")["snapshots"][0]["withdrawn"] == []
    withdraw(world)
    said = [{"publisher": world.id, "name": "Test Keep", "reason": WHY}]
    for context in (contextlib.nullcontext(), seeding(world.keeper)):
        with context:
            (shown,) = world.keeper.ok("list")["snapshots"]
            assert (shown["withdrawn"], shown["state"]) == (said, "complete")
            assert f"withdrawn by Test Keep: {WHY}" in world.keeper.run("list").stdout


def test_one_publishers_withdrawal_rolls_nobody_back(world: World):
    """Another publisher still lists what the first one withdrew, and it is the newer one: it is taken, and told of."""
    hold(Home(world.keeper.home), {"model.bin": b"the other commit"})
    world.publish()
    published = int(time.time())
    wait_until(lambda: int(time.time()) > published, 10, "a later second, by which entries are told apart")
    second = World(world.folder / "second")
    second.publish()
    reader = world.reader()
    reader.ok("trust", "add", second.id, "--index", second.site)
    withdraw(world)
    reader.ok("index", "update")
    quiet_config(reader)
    hold(Home(reader.home), {"model.bin": b"the other commit"})
    hold(Home(reader.home))
    for target in ("Qwen/Tiny", TINY):
        done = reader.run("fetch", target, "--no-hf-cache", "--json")
        assert (done.code, done.json["commit"]) == (0, COMMIT), done
        assert f"{TINY} is withdrawn by Test Keep: {WHY}" in done.stderr


def test_a_commit_that_nobody_lists_any_more_is_named_when_another_is_taken(world: World):
    older = hold(Home(world.keeper.home), {"model.bin": b"the other commit"})
    world.publish()
    withdraw(world)
    reader = world.reader()
    quiet_config(reader)
    hold(Home(reader.home), {"model.bin": b"the other commit"})
    done = reader.run("fetch", "Qwen/Tiny", "--no-hf-cache", "--json")
    assert (done.code, done.json["commit"]) == (0, str(older.id.commit)), done
    assert f"{TINY} is passed over: withdrawn by Test Keep: {WHY}" in done.stderr
    named = reader.run("fetch", str(older.id), "--no-hf-cache")
    assert (named.code, "passed over" in named.stderr) == (0, False), named


def test_the_publisher_who_forgot_is_told_as_well(world: World):
    world.publish()
    withdraw(world)
    world.keeper.ok("remove", TINY, "--yes")
    ended = world.keeper.run("fetch", TINY)
    assert (ended.code, WHY in ended.stderr) == (4, True), ended


def follower_of(world: World, name: str, rule: str | None = None) -> CommandLine:
    """A follower who holds the snapshot."""
    someone = world.reader(name)
    quiet_config(someone, "" if rule is None else f'seed_withdrawn = "{rule}"\n')
    hold(Home(someone.home))
    return someone


@pytest.mark.parametrize(("rule", "kept"), [(None, True), ("never", False), ("always", True)])
def test_a_follower_keeps_what_it_holds_and_its_node_does_as_it_chose(world: World, rule, kept):
    world.publish()
    someone = follower_of(world, "follower", rule)
    with seeding(someone) as (node, _):
        node.json_line(60, containing='"seeding"')
        withdraw(world)
        someone.ok("index", "update")
        told = node.json_line(60, containing='"withdrawn"')
        assert (told["event"], told["commit"], told["reason"], told["seeded"]) == ("withdrawn", COMMIT, WHY, kept)
        wanted = "seeding" if kept else "withdrawn"
        wait_until(lambda: row(someone, COMMIT)["state"] == wanted, 30, f"the node says {wanted}")
        assert [one["reason"] for one in row(someone, COMMIT)["withdrawn"]] == [WHY]
    assert [one["state"] for one in someone.ok("list")["snapshots"]] == ["complete"]
    again = someone.run("fetch", TINY, "--json", "--no-hf-cache")
    assert (again.code, again.json["unchanged"], f"is withdrawn by Test Keep: {WHY}" in again.stderr) == (0, True, True)


@pytest.mark.parametrize(("rule", "kept"), [("others", False), ("always", True)])
def test_a_publishers_own_node_stops_seeding_what_it_withdrew_until_it_is_reinstated(world: World, rule, kept):
    quiet_config(world.keeper, f'seed_withdrawn = "{rule}"\n')
    world.publish()
    with seeding(world.keeper) as (node, _):
        node.json_line(60, containing='"seeding"')
        withdraw(world)
        assert node.json_line(60, containing='"withdrawn"')["seeded"] is kept
        wanted = "seeding" if kept else "withdrawn"
        wait_until(lambda: row(world.keeper, COMMIT)["state"] == wanted, 30, f"the node says {wanted}")
        world.publish("--reinstate", TINY, "--yes", "--no-dht")
        wait_until(lambda: row(world.keeper, COMMIT)["state"] == "seeding", 30, "the node seeds it again")
    withdraw(world)
    with seeding(world.keeper) as (node, _):  # and from its start on
        node.json_line(60, containing='"withdrawn"')
        wait_until(lambda: row(world.keeper, COMMIT).get("state") == wanted, 30, f"the node says {wanted}")


def test_health_adopt_and_rebalance_know(world: World):
    """Another publisher lists it still: it may be adopted, but not by a node that would not serve it."""
    world.publish()
    second = World(world.folder / "second")
    second.publish()
    reader = world.reader()
    reader.ok("trust", "add", second.id, "--index", second.site)
    quiet_config(reader)
    withdraw(world)
    reader.ok("index", "update")
    words = ("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0")
    plan = reader.run(*words, "--json")
    assert [one["commit"] for one in plan.json["chosen"]] == [COMMIT]
    assert f"{TINY} is withdrawn by Test Keep: {WHY}" in plan.stderr
    quiet_config(reader, 'seed_withdrawn = "never"\n')
    plan = reader.ok(*words)
    assert plan["chosen"] == []
    assert [WHY in one["reason"] for one in plan["others"]] == [True]
    (swarm,) = reader.ok("health", "--no-look")["swarms"]
    assert [(one["publisher"], one["reason"]) for one in swarm["withdrawn"]] == [(world.id, WHY)]
    assert f"is withdrawn by Test Keep: {WHY}" in reader.run("health", "--no-look").stdout
    hold(Home(reader.home))
    kept = reader.ok("rebalance", "--dry-run", "--look-seconds", "0")["kept"]
    assert [WHY in one["reason"] for one in kept] == [True]


def test_a_wrong_rule_is_refused(world: World):
    quiet_config(world.keeper, 'seed_withdrawn = "sometimes"\n')
    ended = world.keeper.run("status")
    assert (ended.code, "always, others or never" in ended.stderr) == (2, True)
