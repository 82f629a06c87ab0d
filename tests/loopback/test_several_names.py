"""Several names and globs in one command: each is done, and none that fails stops another."""

from __future__ import annotations

import pytest

from tests.support.command import CommandLine
from tests.support.models import write_folder
from tests.support.processes import p2pqwen
from tests.support.terminal import on_a_terminal

REPOS = ("Qwen/Tiny", "Qwen/Tiny-GGUF", "Other/Small")
COMMITS = {repo: f"{number}" * 40 for number, repo in enumerate(REPOS, 1)}


@pytest.fixture
def user(tmp_path):
    one = CommandLine(tmp_path / "user")
    for repo, commit in COMMITS.items():
        folder = write_folder(tmp_path / commit, {"config.json": commit.encode()})
        one.ok("preserve", "--from", folder, "--repo", repo, "--commit", commit)
    return one


def held(user):
    return {one["repo"] for one in user.ok("list")["snapshots"]}


@pytest.mark.parametrize(
    ("typed", "repos"),
    [
        (["Qwen/Tiny", "Other/Small"], {"Qwen/Tiny", "Other/Small"}),
        (["qwen/*"], {"Qwen/Tiny", "Qwen/Tiny-GGUF"}),
        (["*@111*"], {"Qwen/Tiny"}),
        (["*"], set(REPOS)),
        (["Qwen/*", "Qwen/Tiny@1111111"], {"Qwen/Tiny", "Qwen/Tiny-GGUF"}),
    ],
)
def test_every_snapshot_that_is_named(user, typed, repos):
    assert {one["repo"] for one in user.ok("pin", *typed)["snapshots"]} == repos
    assert all(not one["pinned"] for one in user.ok("unpin", *typed)["snapshots"])
    verified = user.ok("verify", *typed)
    assert verified["ok"]
    assert {one["target"].partition("@")[0] for one in verified["verified"]} == repos
    assert {one["repo"] for one in user.ok("remove", *typed, "--yes")["removed"]} == repos
    assert held(user) == set(REPOS) - repos


def test_one_name_is_answered_as_ever(user):
    assert user.ok("pin", "Qwen/Tiny")["repo"] == "Qwen/Tiny"
    assert user.ok("verify", "Qwen/Tiny")["files"] == 1


def test_a_glob_that_matches_nothing(user):
    for command in ("pin", "verify", "remove"):
        assert user.run(command, "Nobody/*").code == 4


def test_what_fails_stops_nothing_else(user):
    (user.home / "library" / "Qwen/Tiny" / COMMITS["Qwen/Tiny"] / "config.json").write_bytes(b"rot")
    ended = user.run("verify", "*", "--json")
    assert ended.code == 3
    assert not ended.json["ok"]
    assert [one["ok"] for one in ended.json["verified"]] == [True, False, True]
    user.ok("pin", "Qwen/Tiny")
    ended = user.run("remove", "*", "--yes")
    assert (ended.code, "is pinned" in ended.stderr) == (1, True), ended.stderr
    assert held(user) == {"Qwen/Tiny"}
    assert user.run("pin", "Qwen/Tiny", "Qwen/Absent").code == 4


def test_one_question_for_all(user):
    with on_a_terminal(p2pqwen("remove", "Qwen/*"), user.environment) as terminal:
        asked = terminal.wait_for("Delete these 2 snapshots?")
        assert "Qwen/Tiny-GGUF@" in asked
        terminal.type("n")
        assert terminal.wait() == 1, terminal.shown
    assert held(user) == set(REPOS)
