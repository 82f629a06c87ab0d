"""Repositories under old names, in another case, twice, and those that nobody can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder

REPO, NEW = "Qwen/Tiny", "Qwen/Tiny-1.0"


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path: Path, hub: HubSimulator) -> CommandLine:
    return CommandLine(tmp_path, hub.endpoint)


def add(hub: HubSimulator, folder: Path, repo: str = REPO) -> str:
    return str(hub.add(repo, write_folder(folder / repo.replace("/", "-"), small_model())))


def held(user: CommandLine) -> set[str]:
    return {f"{one['repo']}@{one['commit']}" for one in user.ok("list")["snapshots"]}


@pytest.mark.parametrize(
    ("typed", "renamed", "own"), [("qwen/tiny", False, REPO), (REPO, True, NEW), ("QWEN/tiny", True, NEW)]
)
def test_the_hubs_own_name_is_the_one_that_everything_is_made_under(hub, user, tmp_path, typed, renamed, own):
    commit = add(hub, tmp_path)
    if renamed:
        hub.rename(REPO, NEW)
    ended = user.run("preserve", f"{typed}@{commit}", "--json")
    assert (ended.code, ended.json["repo"], ended.json["provenance"]) == (0, own, "proven"), ended
    assert f"{typed} is {own} on the Hub" in ended.stderr
    assert f"dn={own.replace('/', '%2F')}%40{commit}" in ended.json["magnet"]
    assert held(user) == {f"{own}@{commit}"}
    again = user.run("preserve", typed, "--json")
    assert (again.code, again.json["unchanged"], again.json["repo"]) == (0, True, own)


def watch(user: CommandLine, folder: Path, *repos: str) -> Any:
    rows = "".join(f'[[model]]\nrepo = "{repo}"\n' for repo in repos)
    (folder / "watchlist.toml").write_text(f"format = 1\n{rows}")
    return user.run("preserve", "--watchlist", folder / "watchlist.toml", "--json")


def test_two_names_of_one_repository_are_one_wish(hub, user, tmp_path):
    commit = add(hub, tmp_path)
    hub.rename(REPO, NEW)
    ended = watch(user, tmp_path, REPO, NEW, "qwen/tiny-1.0")
    assert ended.code == 0, ended
    assert [one["repo"] for one in ended.json["preserved"]] == [NEW]
    assert [one["repo"] for one in ended.json["skipped"]] == [NEW, NEW]
    assert {one["reason"] for one in ended.json["skipped"]} == {
        f"{old} is {NEW}, which is wanted already" for old in (REPO, "qwen/tiny-1.0")
    }
    assert held(user) == {f"{NEW}@{commit}"}
    assert watch(user, tmp_path, REPO).json["unchanged"][0]["repo"] == NEW


def test_what_can_never_be_preserved_is_skipped_so_that_a_nightly_run_ends_well(hub, user, tmp_path):
    for repo in ("Qwen/Gated", "Qwen/Disabled", "Qwen/Fine"):
        add(hub, tmp_path, repo)
    hub.repositories["Qwen/Gated"].gated = "auto"
    hub.repositories["Qwen/Disabled"].disabled = True
    ended = watch(user, tmp_path, "Qwen/Gated", "Qwen/Disabled", "Qwen/Fine")
    assert ended.code == 0, ended
    assert [one["repo"] for one in ended.json["preserved"]] == ["Qwen/Fine"]
    assert {one["repo"]: one["reason"].partition(":")[0] for one in ended.json["skipped"]} == {
        "Qwen/Gated": "gated",
        "Qwen/Disabled": "disabled",
    }
    assert ended.json["failed"] == []
    org = user.run("preserve", "--org", "Qwen", "--json")
    assert (org.code, org.json["failed"], len(org.json["skipped"])) == (0, [], 2), org
    alone = user.run("preserve", "Qwen/Disabled")
    assert (alone.code, "is disabled" in alone.stderr) == (4, True), alone
