"""Plain files in a folder of the user's own: nothing there is a second name of what the library keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.swarm import COMMIT, REPO

FILES = small_model()


@pytest.fixture
def user(tmp_path):
    """Somebody who holds the snapshot already: `fetch` of it brings nothing more."""
    one = CommandLine(tmp_path / "user")
    write_folder(tmp_path / "model", FILES)
    one.ok("preserve", "--from", tmp_path / "model", "--repo", REPO, "--commit", COMMIT)
    return one


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def library_file(user, name):
    return user.home / "library" / REPO / COMMIT / name


def test_every_file_is_laid_there_and_its_path_printed(user, tmp_path):
    there = tmp_path / "there"
    done = user.ok("fetch", REPO, "--local-dir", there)
    assert content(there) == FILES
    assert done["path"] == str(there)
    assert {Path(one).relative_to(there).as_posix() for one in done["file_paths"]} == FILES.keys()
    assert done["hf_cache"] is None
    lines = user.run("fetch", REPO, "--local-dir", there).stdout.splitlines()
    assert {str(there / name) for name in FILES} <= set(lines)


def test_a_program_that_writes_there_changes_nothing_of_the_library(user, tmp_path):
    there = tmp_path / "there"
    user.ok("fetch", REPO, "--local-dir", there)
    for name in FILES:
        laid, kept = there / name, library_file(user, name)
        assert not laid.is_symlink()
        assert not laid.samefile(kept)
        assert os.stat(kept).st_nlink == 1  # noqa: PTH116
        laid.write_bytes(b"changed")
        assert kept.read_bytes() == FILES[name]
    assert user.ok("verify", REPO)["ok"]


def test_one_file_is_what_path_names(user, tmp_path):
    there = tmp_path / "there"
    done = user.ok("fetch", REPO, "config.json", "--local-dir", there)
    assert (done["path"], done["file_paths"]) == (str(there / "config.json"), [str(there / "config.json")])
    assert content(there).keys() == {"config.json"}
    done = user.ok("fetch", REPO, "config.json", "--no-hf-cache")
    assert done["path"] == str(library_file(user, "config.json"))


def test_what_is_there_already_stays(user, tmp_path):
    there = write_folder(tmp_path / "there", {"config.json": b"mine", "notes": b"mine too"})
    ended = user.run("fetch", REPO, "--local-dir", there)
    assert (ended.code, "config.json differs from the snapshot's file" in ended.stderr) == (6, True), ended.stderr
    assert content(there) == {"config.json": b"mine", "notes": b"mine too"}
    (there / "config.json").write_bytes(FILES["config.json"])
    before = (there / "config.json").stat()
    user.ok("fetch", REPO, "--local-dir", there)
    assert (there / "config.json").stat().st_ino == before.st_ino
    assert content(there) == {**FILES, "notes": b"mine too"}


def test_a_link_in_the_way_is_not_followed(user, tmp_path):
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    (there / "model").symlink_to(elsewhere)
    ended = user.run("fetch", REPO, "--local-dir", there)
    assert (ended.code, "in the way" in ended.stderr) == (6, True), ended.stderr
    (there / "model").unlink()
    (there / "config.json").symlink_to(library_file(user, "config.json"))
    assert user.run("fetch", REPO, "--local-dir", there).code == 6
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("place", ["home", "library", "cache", "around"])
def test_no_folder_of_ours(user, place):
    folder = {
        "home": user.home / "mine",
        "library": user.home / "library" / REPO / COMMIT,
        "cache": user.cache / "mine",
        "around": user.home.parent,
    }[place]
    ended = user.run("fetch", REPO, "--local-dir", folder)
    assert (ended.code, "--local-dir" in ended.stderr) == (2, True), ended.stderr


def test_the_cache_too_if_it_is_asked_for(user, tmp_path):
    options = ("--local-dir", tmp_path / "there", "--hf-cache", "--trust-unverified")
    done = user.ok("fetch", REPO, *options)
    assert Path(done["hf_cache"], "config.json").read_bytes() == FILES["config.json"]
    assert content(tmp_path / "there") == FILES
