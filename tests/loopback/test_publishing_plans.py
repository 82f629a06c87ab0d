"""What `publish` goes on from, adds, takes out and leaves out, and how it tells that before it signs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.app import App
from p2pqwen.config.load import load
from p2pqwen.library.home import Home
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from p2pqwen.values.utc_time import parse_time
from tests.support.keeper import TINY, World
from tests.support.processes import p2pqwen
from tests.support.snapshots import hold
from tests.support.terminal import on_a_terminal

ONE, TWO = "https://one.example/keep", "https://two.example/keep"
TRACKER, OTHER_TRACKER = "udp://t.example:1/announce", "udp://other.example:2/announce"
SEED = "https://seeds.invalid/{repo}/"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entry(world: World, repo: str = "Qwen/Tiny") -> dict[str, Any]:
    (found,) = [one for one in world.index["signed"]["entries"] if one["repo"] == repo]
    return found


def test_a_mirror_is_added_and_the_others_stay(world: World):
    world.publish("--mirror", ONE, "--no-check")
    ended = world.keeper.run("publish", "--out", world.site, "--mirror", TWO, "--no-check")
    assert ended.code == 0, ended
    assert world.index["signed"]["mirrors"] == [ONE, TWO]
    assert entry(world)["magnet"].count("&xs=") == 2
    told = [line for line in ended.stderr.splitlines() if "two.example" in line]
    assert told == [f"index      mirrors adds {TWO}; the magnet links of 1 snapshot follow"], ended.stderr
    again = world.keeper.run("publish", "--out", world.site, "--mirror", f"{TWO}/", "--no-check")
    assert world.index["signed"]["mirrors"] == [ONE, TWO]
    assert "no differences" in again.stderr
    assert world.publish("--no-check")["version"] == 4
    assert world.index["signed"]["mirrors"] == [ONE, TWO]


def test_nothing_is_signed_where_nothing_changed_and_it_was_not_wished(world: World):
    world.publish()
    before = (world.site / "index.json").read_bytes()
    dry = world.publish("--dry-run")
    assert (dry["unchanged"], dry["index"]) == (True, None)
    assert "nothing changed" in world.keeper.run("publish", "--out", world.site, "--dry-run").stdout
    (world.site / "index.json").unlink()
    (world.site / f"{TINY.replace('@', '/')}.torrent").unlink()
    (world.site / "index.html").unlink()
    done = world.publish("--if-changed")
    assert (done["unchanged"], done["version"], done["index"]) == (True, 1, str(world.site / "index.json"))
    assert (world.site / "index.json").read_bytes() == before  # and the site is whole again
    assert (world.site / f"{TINY.replace('@', '/')}.torrent").is_file()
    assert (world.site / "index.html").is_file()
    text = world.keeper.run("publish", "--out", world.site, "--if-changed").stdout
    assert "nothing changed, so none was signed; 0.1 with 1 snapshot" in text
    hold(Home(world.keeper.home), repo="Qwen/Other")
    done = world.publish("--if-changed")
    assert (done["unchanged"], done["version"], done["entries"]) == (False, 2, 2)
    assert world.publish()["version"] == 3  # the command itself is the wish where nobody can be asked


@pytest.mark.parametrize(("answer", "version"), [("", 1), ("n", 1), ("y", 2)])
def test_somebody_at_a_terminal_is_asked_whether_to_sign_what_says_the_same(world: World, answer, version):
    world.publish("--no-dht")
    command = p2pqwen("publish", "--out", world.site, "--no-dht", "--no-check")
    with on_a_terminal(command, world.keeper.environment) as terminal:
        terminal.wait_for("Nothing changed since index 0.1. Sign index 0.2 of Test Keep")
        terminal.wait_for("[y/N]")
        terminal.type(answer)
        assert terminal.wait() == 0, terminal.shown
    assert world.index["signed"]["version"] == version


def test_an_index_that_says_the_same_is_signed_again_before_readers_wonder(world: World):
    world.publish("--no-dht")
    app = App(load({"P2PQWEN_HOME": str(world.keeper.home), **world.keeper.environment}))
    plan = Plan(world.site, app.site, if_changed=True)
    issued = parse_time(world.index["signed"]["issued"])
    for days, version in ((0, 1), (29, 1), (30, 2), (31, 2), (60, 3)):
        done = publish(
            app.library, app.keys, plan, passphrase=lambda _: None, now=issued + timedelta(days=days), check=None
        )
        assert (done.accepted.document.version, days) == (version, days)


def test_a_mirror_is_taken_out_by_name_alone_and_of_what_has_left_the_library_too(world: World):
    hold(Home(world.keeper.home), repo="Qwen/Other")
    world.publish("--mirror", ONE, "--mirror", TWO, "--no-check")
    world.keeper.ok("remove", "Qwen/Other", "--yes")
    world.publish("--remove-mirror", f"{ONE}/index.json", "--no-check")
    assert world.index["signed"]["mirrors"] == [TWO]
    for repo in ("Qwen/Tiny", "Qwen/Other"):
        magnet = entry(world, repo)["magnet"]
        assert ("one.example" in magnet, "two.example" in magnet) == (False, True)
    unknown = world.keeper.run("publish", "--out", world.site, "--remove-mirror", ONE, "--no-check")
    assert (unknown.code, TWO in unknown.stderr) == (4, True), unknown
    world.publish("--remove-mirror", TWO, "--no-check")
    assert world.index["signed"]["mirrors"] == []
    assert "&xs=" not in entry(world)["magnet"]


def test_trackers_and_web_seeds_stay_until_they_are_taken_out(world: World):
    world.publish("--tracker", TRACKER, "--web-seed", SEED, "--no-check")
    hold(Home(world.keeper.home), repo="Qwen/Other")
    world.publish("--tracker", OTHER_TRACKER, "--no-check")
    for repo in ("Qwen/Tiny", "Qwen/Other"):
        one = entry(world, repo)
        assert one["web_seeds"] == [f"https://hub.invalid/{repo}/resolve/", f"https://seeds.invalid/{repo}/"]
        assert one["magnet"].count("&tr=") == 2
    options = ("--remove-web-seed", SEED, "--remove-tracker", TRACKER)
    world.publish(*options, "--no-check")
    for repo in ("Qwen/Tiny", "Qwen/Other"):
        one = entry(world, repo)
        assert one["web_seeds"] == [f"https://hub.invalid/{repo}/resolve/"]
        assert ("t.example%3A1" in one["magnet"], "other.example" in one["magnet"]) == (False, True)
    shown = world.keeper.ok("torrent", "show", world.site / entry(world)["torrent"])
    assert shown["trackers"] == [[OTHER_TRACKER]]
    for option, value in (("--remove-web-seed", SEED), ("--remove-tracker", TRACKER)):
        assert world.keeper.run("publish", "--out", world.site, option, value, "--no-check").code == 4


def test_a_dry_run_shows_the_plan_opens_no_key_and_writes_nothing(world: World):
    for one in (world.keeper.home / "keys").glob("*.pem"):
        one.write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    before = {
        path: path.read_bytes() for path in world.keeper.home.rglob("*") if path.is_file() and path.suffix != ".lock"
    }
    plan = world.keeper.run("publish", "--out", world.site, "--dry-run", "--mirror", ONE, "--no-check", "--json")
    assert plan.code == 0, plan
    assert (plan.json["dry_run"], plan.json["version"], plan.json["entries"], plan.json["index"]) == (True, 1, 1, None)
    (added,) = plan.json["changes"]["added"]
    assert (added["repo"], added["license"], added["redistribution"]) == ("Qwen/Tiny", "apache-2.0", "clear")
    assert f"added      {TINY}  70.0 kB  apache-2.0" in plan.stderr
    assert not world.site.exists()
    after = {
        path: path.read_bytes() for path in world.keeper.home.rglob("*") if path.is_file() and path.suffix != ".lock"
    }
    assert {path for path in after if before.get(path) != after[path]} <= {world.keeper.home / "state.sqlite"}
    text = world.keeper.run("publish", "--out", world.site, "--dry-run", "--no-check").stdout
    assert "index      0.1 would list 1 snapshot: 1 added (1 apache-2.0)" in text
    assert "--dry-run" in text


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        (("--license", "mit"), {"Qwen/Free"}),
        (("--license", "MIT", "--license", "apache-*"), {"Qwen/Free", "Qwen/Tiny"}),
        (("--include", "qwen/f*"), {"Qwen/Free"}),
        (("--exclude", "Free"), {"Qwen/Tiny"}),
    ],
)
def test_what_is_new_may_be_chosen_by_name_and_license(world: World, options, listed):
    hold(Home(world.keeper.home), repo="Qwen/Free", terms="mit")
    done = world.publish(*options, "--no-check")
    assert {one["repo"] for one in world.index["signed"]["entries"]} == listed
    assert {one["repo"] for one in done["skipped"]} == {"Qwen/Free", "Qwen/Tiny"} - listed
    assert all(one["reason"] for one in done["skipped"])


def test_what_is_listed_stays_whatever_is_chosen(world: World):
    world.publish("--no-check")
    hold(Home(world.keeper.home), repo="Qwen/Free", terms="mit")
    world.publish("--license", "mit", "--no-check")
    assert {one["repo"] for one in world.index["signed"]["entries"]} == {"Qwen/Free", "Qwen/Tiny"}


def test_conditions_of_licenses_are_told_before_anything_is_signed(world: World):
    hold(Home(world.keeper.home), repo="Qwen/Research", terms="qwen-research")
    ended = world.keeper.run("publish", "--out", world.site, "--no-check")
    assert "license    qwen-research, 1 snapshot: for research only" in ended.stderr


def test_alike_changes_are_one_line_and_details_are_all_of_them(world: World):
    for number in range(20):
        hold(Home(world.keeper.home), repo=f"Qwen/Model-{number}")
    first = world.keeper.run("publish", "--out", world.site, "--no-check")
    assert first.stderr.count("added      Qwen/") == 12
    assert "9 more snapshots" in first.stderr
    assert "9 apache-2.0" in first.stderr
    short = world.keeper.run("publish", "--out", world.site, "--no-check", "--web-seed", SEED)
    (line,) = [line for line in short.stderr.splitlines() if line.startswith("changed ")]
    assert line.endswith("and 20 more: web_seeds adds https://seeds.invalid/{repo}/")
    long = world.keeper.run("publish", "--out", world.site, "--no-check", "--remove-web-seed", SEED, "-v")
    assert long.stderr.count("changed    Qwen/") == 42


def test_names_that_clash_are_found_before_anything_is_written(world: World):
    world.publish("--no-check")
    before = (world.site / "index.json").read_bytes()
    hold(Home(world.keeper.home), repo="qwen/tiny")
    for options in ((), ("--dry-run",)):
        ended = world.keeper.run("publish", "--out", world.site, "--no-check", *options)
        assert (ended.code, "cannot hold these snapshots together" in ended.stderr) == (2, True), ended
        assert "qwen" in ended.stderr
        assert (world.site / "index.json").read_bytes() == before
    assert not (world.site / "qwen").exists()
    assert world.publish("--no-check", "--exclude", "qwen/tiny")["entries"] == 1


def test_a_signed_draft_cannot_be_tried(world: World, tmp_path: Path):
    world.publish("--no-check", "--draft", tmp_path / "draft.json")
    ended = world.keeper.run("publish", "--signed", tmp_path / "draft.json", "--out", world.site, "--dry-run")
    assert (ended.code, "index diff" in ended.stderr) == (2, True), ended
    assert not (world.site / "index.json").exists()
