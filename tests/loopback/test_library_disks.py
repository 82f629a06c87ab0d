"""A library on several disks, with a running node: where snapshots go, and a disk that leaves and comes back."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.disks import other_disk
from tests.support.nodes import quiet_config, row, seeding
from tests.support.preserved import COMMITS, REPO, Preserver, in_cache, small_model, tree
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until


@pytest.fixture
def preserver(tmp_path):
    keeper = Preserver(tmp_path)
    keeper.preserve(small_model())
    return keeper


@pytest.fixture
def disk(tmp_path):
    """A folder on another file system than the tests' own, where this machine has one."""
    with other_disk(tmp_path) as folder:
        yield folder


def fetch(port, *options):
    return "fetch", REPO, "--peer", f"127.0.0.1:{port}", "--no-hf-cache", *options


def on_other_disk(user, disk):
    """Only the folder on this disk has room."""
    quiet_config(user, f'[library]\nreserve = "1000TB"\nfolders = [{{path = "{disk}", reserve = "1MB"}}]\n')


def test_fetch_import_and_preserve_choose_the_disk_with_room(preserver, disk, tmp_path):
    user = preserver.trusted_by("user")
    on_other_disk(user, disk)
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        assert user.ok(*fetch(port))["path"] == str(disk / REPO / COMMITS[0])
    assert tree(disk / REPO / COMMITS[0]) == small_model()
    assert user.ok("list")["snapshots"][0]["path"] == str(disk / REPO / COMMITS[0])
    assert user.ok("verify", REPO)["ok"]
    user.ok("remove", REPO, "--yes")
    assert not (disk / REPO).exists()

    in_cache(user, small_model())
    (one,) = user.ok("library", "import", "--hard-links")["imported"]
    # Second names need the cache's own disk, and cost no room there: reserve or not.
    assert (one["path"], one["bytes_copied"]) == (str(user.home / "library" / REPO / COMMITS[0]), 0)

    source = tmp_path / "sources" / COMMITS[0]
    elsewhere = shutil.copytree(source, disk.parent / f"{disk.name}-source")
    try:
        path = user.ok("preserve", "--from", elsewhere, "--repo", "Qwen/Other", "--commit", COMMITS[1])["torrent"]
    finally:
        shutil.rmtree(elsewhere)
    assert path == str(disk / "Qwen/Other" / f"{COMMITS[1]}.torrent")

    for held in (REPO, "Qwen/Other"):
        user.ok("remove", held, "--yes")
    quiet_config(user, '[library]\nreserve = "1000TB"\n')
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        refused = user.run(*fetch(port))
    assert (refused.code, "not enough room" in refused.stderr) == (6, True)


def test_a_disk_that_goes_pauses_its_snapshots_and_comes_back(preserver, tmp_path):
    user = preserver.trusted_by("user")
    disk, away = tmp_path / "disk", tmp_path / "unplugged"
    disk.mkdir()
    on_other_disk(user, disk)
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        user.ok(*fetch(port))
    size = sum(map(len, small_model().values()))
    with seeding(user) as (node, port):
        node.line(30, containing='"seeding"')
        disk.rename(away)
        assert json.loads(node.line(30, containing='"away"'))["commit"] == COMMITS[0]
        wait_until(lambda: row(user, COMMITS[0]).get("state") == "away", 15, "the disk to be missed")
        (listed,) = user.ok("list")["snapshots"]
        assert (listed["state"], listed["size"]) == ("away", size)
        for command in (("verify", REPO), ("fetch", REPO), ("remove", REPO)):
            ended = user.run(*command)
            assert ended.code == (2 if command[0] == "remove" else 6), (command, ended)
            assert "Traceback" not in ended.stderr
        away.rename(disk)
        wait_until(lambda: row(user, COMMITS[0]).get("state") == "seeding", 15, "the disk to be back")
        other = preserver.trusted_by("other")
        quiet_config(other)
        assert other.ok(*fetch(port))["bytes_from_peers"] == size
        # It came back unchanged, so nothing was read again.
        assert not [line for line in node.lines if '"checking"' in line or '"damaged"' in line]
    disk.rename(away)
    assert user.ok("status")["snapshots"][0]["state"] == "away"
    assert user.run("library", "scrub", "--all").stdout == "1 snapshot could not be read: the disk is not connected\n"
    assert user.ok("remove", REPO, "--yes")["removed"][0]["path"] is None
    assert user.ok("list")["snapshots"] == []
    assert tree(away / REPO / COMMITS[0]) == small_model()


def test_a_disk_that_goes_in_mid_fetch_is_waited_for(preserver, tmp_path):
    user = preserver.trusted_by("user")
    disk, away = tmp_path / "disk", tmp_path / "unplugged"
    disk.mkdir()
    on_other_disk(user, disk)
    with seeding(preserver.user, "--upload-limit", "500kB/s") as (seeder, port):
        seeder.line(30, containing='"seeding"')
        with running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until((disk / REPO / COMMITS[0] / "model.safetensors").exists, 30, "the download to begin")
            disk.rename(away)
            assert command.wait(40) == 6
            assert "a disk that is not connected" in command.stderr
        shutil.rmtree(disk, ignore_errors=True)  # what libtorrent may have begun there
        away.rename(disk)
        preserver.user.ok("limits", "--upload", "0")
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        user.ok(*fetch(port))
    assert tree(disk / REPO / COMMITS[0]) == small_model()


def test_a_node_goes_on_with_what_it_fetched_once_the_disk_is_back(preserver, tmp_path):
    user = preserver.trusted_by("user")
    disk, away = tmp_path / "disk", tmp_path / "unplugged"
    disk.mkdir()
    on_other_disk(user, disk)
    preserver.user.ok("limits", "--upload", "500kB/s")
    with seeding(preserver.user) as (seeder, port), seeding(user):
        seeder.line(30, containing='"seeding"')
        with running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until(lambda: row(user, COMMITS[0]).get("progress", 0) > 0.1, 30, "a tenth of it")
            disk.rename(away)
            assert command.wait(40) == 6
            assert "a disk that is not connected" in command.stderr
        shutil.rmtree(disk, ignore_errors=True)
        preserver.user.ok("limits", "--upload", "0")
        away.rename(disk)
        wait_until(lambda: row(user, COMMITS[0]).get("state") == "seeding", 60, "the node to have gone on by itself")
    assert tree(disk / REPO / COMMITS[0]) == small_model()
