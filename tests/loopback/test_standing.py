"""A snapshot's standing as users see it: how it rises, who says what, and what a running node does by itself."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.command import CommandLine
from tests.support.nodes import quiet_config
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.web_seeds import PlainServer
from tests.support.world import REPO, World, seeded_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A publisher who lists a proven snapshot and seeds it."""
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture
def user(world: World, tmp_path: Path) -> CommandLine:
    someone = CommandLine(tmp_path / "user", world.hub.endpoint)
    quiet_config(someone)
    return someone


@pytest.fixture
def unvouched(world: World, user: CommandLine) -> CommandLine:
    """Somebody who fetched it by a bare magnet from a stranger."""
    options = ("--peer", world.peer, *QUIET, "--no-web-seeds", "--timeout", "60")
    done = user.ok("fetch", world.entry["magnet"], *options)
    assert (done["provenance"], done["standing"], done["hf_cache"]) == ("unproven", "unvouched", None)
    return user


def row(user: CommandLine) -> dict[str, Any]:
    return user.ok("list")["snapshots"][0]


def trust(user: CommandLine, world: World, index: str | Path | None = None) -> None:
    user.ok("trust", "add", world.identity, "--index", index or world.site, "--no-dht")


def test_fetch_makes_a_held_snapshot_what_a_trusted_index_lists(world, unvouched):
    held = row(unvouched)
    before = parse_metainfo(Path(held["path"]).with_suffix(".torrent").read_bytes())
    trust(unvouched, world)
    done = unvouched.ok("fetch", REPO)
    assert (done["unchanged"], done["provenance"], done["standing"]) == (True, "proven", "proven")
    assert [(one["label"], one["state"]) for one in done["signers"]] == [("Keepers index key", "valid")]
    assert [(one["name"], one["by"]) for one in done["vouched_by"]] == [("Keepers", "index")]
    assert done["torrent_from"] == "the index of Keepers"
    after = parse_metainfo(Path(done["torrent"]).read_bytes())
    published = parse_metainfo(world.torrent.read_bytes())
    assert (after.infohash, after.manifest) == (before.infohash, published.manifest)
    assert set(before.web_seeds) | set(published.web_seeds) == set(after.web_seeds)
    assert set(before.trackers) <= set(after.trackers)
    cached = Path(done["hf_cache"])
    assert (cached / "config.json").read_bytes() == (Path(done["path"]) / "config.json").read_bytes()
    assert (cached.parents[1] / "refs" / "main").read_text() == world.commit
    unvouched.ok("trust", "remove", world.identity)
    assert row(unvouched)["standing"] == "proven"  # a proof needs nobody
    again = unvouched.ok("fetch", f"{REPO}@{world.commit}")
    assert (again["standing"], again["vouched_by"]) == ("proven", [])


def test_list_takes_it_from_a_folder_and_verify_from_the_web_too(world, unvouched):
    files = {path.relative_to(world.site).as_posix(): path.read_bytes() for path in world.site.rglob("*.*")}
    with PlainServer({name: data for name, data in files.items() if data}) as server:
        trust(unvouched, world, f"{server.url}index.json")
        # `list` asks nobody: a trusted publisher names it, and its claim of a proof has not been checked here.
        assert (row(unvouched)["standing"], row(unvouched)["provenance"]) == ("signed", "unproven")
        checked = unvouched.ok("verify", REPO)
    assert (checked["standing"], checked["provenance"]) == ("proven", "proven")
    assert [one["state"] for one in checked["signers"]] == ["valid"]
    assert (row(unvouched)["standing"], row(unvouched)["provenance"]) == ("proven", "proven")


def test_list_and_status_say_so_in_words(world, unvouched):
    assert f"@{world.commit[:7]}  " in unvouched.run("list").stdout
    assert unvouched.ok("verify", f"{REPO}@{world.commit[:7]}")["files"] > 0  # what is shown can be typed
    assert "complete  unvouched" in unvouched.run("list").stdout
    assert "complete, unvouched," in unvouched.run("status").stdout
    trust(unvouched, world)
    assert "complete  proven" in unvouched.run("list").stdout
    assert "complete, proven," in unvouched.run("status").stdout
    assert "standing    proven; the index of Keepers" in unvouched.run("verify", REPO).stdout


def test_where_nobody_gives_the_signed_torrent_the_index_still_vouches(world, unvouched, tmp_path):
    index = tmp_path / "alone" / "index.json"
    index.parent.mkdir()
    index.write_bytes(world.index.read_bytes())
    trust(unvouched, world, index)
    done = unvouched.ok("fetch", REPO, "--timeout", "5")
    assert (done["provenance"], done["standing"]) == ("unproven", "signed")
    assert Path(done["hf_cache"]).name == world.commit
    assert row(unvouched)["standing"] == "signed"


def test_a_node_raises_what_it_holds_by_itself(world, unvouched):
    node = p2pqwen("seed", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", *QUIET, "--json")
    with running(node, unvouched.environment) as process:
        assert process.json_line(60, containing='"seeding"')["standing"] == "unvouched"
        assert unvouched.ok("status")["snapshots"][0]["standing"] == "unvouched"
        trust(unvouched, world)
        told = process.json_line(60, containing='"standing", "repo"')
        while told["standing"] != "proven":  # listed first, and then its torrent is brought
            told = process.json_line(60, containing='"standing": "proven", "before"')
        assert (told["repo"], told["commit"]) == (REPO, world.commit)
        wait_until(lambda: unvouched.ok("status")["snapshots"][0]["standing"] == "proven", 20, "status to say so")
        assert metric(process.json_line(20, containing='"metrics"')["port"]) == "proven"
        unvouched.ok("trust", "remove", world.identity)
        assert unvouched.ok("status")["snapshots"][0]["standing"] == "proven"
    logged = [json.loads(line) for line in (unvouched.home / "log" / "node.jsonl").read_text().splitlines()]
    assert "proven" in [one["standing"] for one in logged if one["event"] == "standing"]
    assert unvouched.ok("verify", REPO)["signers"][0]["state"] == "unknown key"
    assert row(unvouched)["provenance"] == "proven"


def test_a_node_says_when_somebody_is_trusted_no_longer(world, unvouched, tmp_path):
    index = tmp_path / "alone" / "index.json"
    index.parent.mkdir()
    index.write_bytes(world.index.read_bytes())
    trust(unvouched, world, index)
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json"), unvouched.environment) as process:
        assert process.json_line(60, containing='"seeding"')["standing"] == "signed"
        unvouched.ok("trust", "remove", world.identity)
        told = process.json_line(60, containing='"standing", "repo"')
        assert (told["before"], told["standing"]) == ("signed", "unvouched")
        assert unvouched.ok("status")["snapshots"][0]["standing"] == "unvouched"


def metric(port: int) -> str:
    """What the node's metrics say of the snapshot's standing."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    line = next(line for line in text.splitlines() if line.startswith("p2pqwen_snapshot_standing{"))
    return line.partition('standing="')[2].partition('"')[0]


def test_search_tells_a_claim_from_what_was_checked_here(world, user):
    trust(user, world)
    words = user.run("search", "tiny").stdout
    assert "signed, claimed proven by Keepers" in words
    found = user.ok("search", "tiny")["results"][0]
    assert (found["provenance"], found["standing"], found["held"]) == ("proven", "signed", False)
    shown = user.run("index", "show", world.index).stdout
    assert "signed, claimed proven by Keepers" in shown
    user.ok("fetch", REPO, "--peer", world.peer, *QUIET, "--no-web-seeds")
    words = user.run("search", "tiny").stdout
    assert "proven, checked locally" in words
    assert "claimed" not in words
    found = user.ok("search", "tiny")["results"][0]
    assert (found["provenance"], found["standing"], found["held"]) == ("proven", "proven", True)


def test_an_index_of_strangers_claims_only(world, user):
    words = user.run("index", "show", world.index).stdout
    assert "unvouched, claimed proven by Keepers" in words
    assert user.ok("index", "verify", world.index)["standings"] == {"proven": 0, "signed": 0, "unvouched": 1}


@pytest.mark.parametrize("option", ["--trust-unverified", "--set-main"])
def test_contradicting_wishes_are_wrong_usage(world, user, option):
    ended = user.run("fetch", world.torrent, option, "--no-hf-cache")
    assert (ended.code, "contradict" in ended.stderr) == (2, True)


def test_the_record_of_a_torrent_is_read_again_when_the_torrent_changes(world, unvouched):
    """`list` keeps what it found in torrents; a torrent that changed on the disk is read again."""
    assert row(unvouched)["standing"] == "unvouched"
    torrent = Path(row(unvouched)["path"]).with_suffix(".torrent")
    torrent.with_suffix(".torrent.sha256").unlink()
    torrent.write_bytes(world.torrent.read_bytes())
    assert (row(unvouched)["standing"], row(unvouched)["provenance"]) == ("proven", "proven")


def test_no_state_no_harm(world, unvouched):
    trust(unvouched, world)
    for path in unvouched.home.glob("state.sqlite*"):
        path.unlink()
    assert row(unvouched)["standing"] == "proven"
