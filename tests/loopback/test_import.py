"""`library import`: what is on the disk already is verified, linked, seeded, and its place of origin left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.command import CommandLine
from tests.support.models import noise
from tests.support.nodes import quiet_config
from tests.support.preserved import COMMITS, REPO, Preserver, in_cache, small_model, tree
from tests.support.processes import p2pqwen, running

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


@pytest.fixture
def preserver(tmp_path):
    return Preserver(tmp_path)


def held(user, commit=COMMITS[0]):
    return user.home / "library" / REPO / commit


@pytest.mark.parametrize("hard_links", [False, True])
def test_a_cached_snapshot_is_taken_in_and_verified(preserver, hard_links):
    preserver.preserve(small_model())
    user = preserver.trusted_by("user")
    blobs = in_cache(user, small_model())
    before, looks = tree(user.cache), {path: path.stat() for path in blobs.iterdir()}
    done = user.ok("library", "import", *(("--hard-links",) if hard_links else ()))
    (one,) = done["imported"]
    assert (one["state"], one["bytes_missing"], one["bad"]) == ("complete", 0, [])
    assert one["bytes_linked"] + one["bytes_copied"] == sum(map(len, small_model().values()))
    blob = next((user.cache / "models--Qwen--Tiny" / "snapshots").rglob("model.safetensors"))
    assert (held(user) / "model.safetensors").samefile(blob) is hard_links
    for path, look in looks.items():
        now = path.stat()
        assert (now.st_mtime_ns, now.st_mode, now.st_ino) == (look.st_mtime_ns, look.st_mode, look.st_ino)
        assert hard_links or now.st_nlink == look.st_nlink
    assert tree(held(user)) == small_model()
    assert tree(user.cache) == before
    assert user.ok("verify", REPO)["ok"]
    assert user.ok("library", "import")["imported"][0]["unchanged"]


def test_blobs_without_a_snapshot_folder_are_found_by_their_hashes(preserver):
    preserver.preserve(small_model())
    user = preserver.trusted_by("user")
    in_cache(user, small_model(), commit=COMMITS[1])
    done = user.ok("library", "import")
    assert [one["commit"] for one in done["imported"]] == [COMMITS[0]]
    assert done["unmatched"][0]["source"] == f"{REPO}@{COMMITS[1]}"  # it is in the cache, and nobody lists it


def test_a_shared_license_file_does_not_begin_every_revision(preserver):
    preserver.preserve({**small_model(), "model.safetensors": noise(1_000_000, "other")})
    user = preserver.trusted_by("user")
    in_cache(user, {"README.md": small_model()["README.md"]}, commit=COMMITS[2])
    assert user.ok("library", "import")["imported"] == []
    assert user.ok("list")["snapshots"] == []


@pytest.mark.parametrize("how", ["folder", "parent", "snapshot of a cache"])
def test_a_plain_folder_is_recognised(preserver, tmp_path, how):
    torrent = preserver.preserve(small_model())
    user = CommandLine(tmp_path / "user")
    if how == "snapshot of a cache":
        other = CommandLine(tmp_path / "other")
        in_cache(other, small_model())
        folder = other.cache / "models--Qwen--Tiny" / "snapshots" / COMMITS[0]
    else:
        shutil.copytree(tmp_path / "sources" / COMMITS[0], tmp_path / "models" / "tiny")
        folder = tmp_path / "models" / ("tiny" if how == "folder" else "")
    done = user.ok("library", "import", folder, "--torrent", torrent, "--no-hf-cache")
    assert [one["state"] for one in done["imported"]] == ["complete"]
    assert tree(held(user)) == small_model()


def test_what_is_damaged_or_missing_is_brought_by_the_swarm_and_the_cache_is_not_written_to(preserver, tmp_path):
    torrent = preserver.preserve(small_model())
    user = preserver.trusted_by("user")
    files = small_model()
    weights = bytearray(files["model.safetensors"])
    weights[1_500_000] ^= 1
    del files["tokenizer/résumé.json"]
    blobs = in_cache(user, files)
    snapshot = user.cache / "models--Qwen--Tiny" / "snapshots" / COMMITS[0]
    damaged = blobs / (snapshot / "model.safetensors").readlink().name
    damaged.write_bytes(weights)
    before = tree(user.cache)
    ended = user.run("library", "import", "--json")
    assert ended.code == 3
    (one,) = ended.json["imported"]
    assert (one["state"], [bad["path"] for bad in one["bad"]]) == ("incomplete", ["model.safetensors"])
    piece = parse_metainfo(Path(torrent).read_bytes()).layout.piece_length
    assert one["bytes_missing"] == piece + 40_000
    assert tree(user.cache) == before
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), preserver.user.environment) as seeder:
        port = seeder.json_line(30, containing='"listening"')["port"]
        seeder.line(30, containing='"seeding"')
        fetch = (
            "fetch",
            f"{REPO}@{COMMITS[0]}",
            "--peer",
            f"127.0.0.1:{port}",
            "--no-hf-cache",
            "--no-web-seeds",
            *QUIET,
        )
        fetched = user.ok(*fetch)
    assert fetched["bytes_from_peers"] == piece + 40_000
    assert tree(held(user)) == small_model()
    assert tree(user.cache) == before


@pytest.fixture
def spoilt(preserver):
    """A user whose cache has one wrong byte, and the blob that has it."""
    preserver.preserve(small_model())
    user = preserver.trusted_by("user")
    blobs = in_cache(user, small_model())
    blob = blobs / (user.cache / "models--Qwen--Tiny" / "snapshots" / COMMITS[0] / "model.safetensors").readlink().name
    weights = bytearray(small_model()["model.safetensors"])
    weights[1_500_000] ^= 1
    blob.write_bytes(weights)
    return user, blob


def test_damage_is_told_of_each_time(spoilt):
    user, _ = spoilt
    for _ in range(2):
        ended = user.run("library", "import", "--json")
        (one,) = ended.json["imported"]
        assert (ended.code, one["state"], [bad["path"] for bad in one["bad"]]) == (
            3,
            "incomplete",
            ["model.safetensors"],
        )


@pytest.mark.parametrize("how", ["a folder", "the cache, mended"])
def test_what_is_right_takes_the_place_of_what_is_damaged(spoilt, tmp_path, how):
    user, blob = spoilt
    assert user.run("library", "import").code == 3
    blob.unlink()
    blob.write_bytes(small_model()["model.safetensors"])
    folder = shutil.copytree(tmp_path / "sources" / COMMITS[0], tmp_path / "good" / "tiny")
    more = (folder, "--no-hf-cache") if how == "a folder" else ()
    (one,) = user.ok("library", "import", *more)["imported"]
    assert (one["state"], one["bad"], one["bytes_missing"]) == ("complete", [], 0)
    assert tree(held(user)) == small_model()


def test_a_copy_to_mend_needs_room(spoilt):
    user, blob = spoilt
    quiet_config(user, '[library]\nreserve = "1000TB"\n')
    ended = user.run("library", "import")
    assert (ended.code, "--hard-links" in ended.stderr) == (6, True), ended
    ended = user.run("library", "import", "--hard-links")  # what is damaged would be mended in a copy
    assert (ended.code, "not enough room" in ended.stderr, blob.stat().st_nlink) == (6, True, 2), ended
    quiet_config(user)
    assert user.run("library", "import", "--hard-links").code == 3
    assert blob.stat().st_nlink == 1


def test_nothing_right_leaves_nothing(preserver):
    preserver.preserve(small_model())
    user = preserver.trusted_by("user")
    blobs = in_cache(user, small_model())
    for blob in blobs.iterdir():
        blob.write_bytes(bytes(blob.stat().st_size))
    done = user.ok("library", "import")
    assert done["imported"] == []
    assert "model.safetensors" in done["unmatched"][0]["reason"] or ".gitattributes" in done["unmatched"][0]["reason"]
    assert user.ok("list")["snapshots"] == []
    assert not [path for path in (user.home / "library").rglob("*") if path.is_file()]


def test_files_of_another_revision_are_linked_and_not_fetched(preserver):
    preserver.preserve(small_model())
    newer = {**small_model(), "config.json": b'{"model_type": "qwen3", "version": 2}\n'}
    preserver.preserve(newer, COMMITS[1])
    user = preserver.trusted_by("user")
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), preserver.user.environment) as seeder:
        port = seeder.json_line(30, containing='"listening"')["port"]
        seeder.line(30, containing=COMMITS[0])
        options = "--peer", f"127.0.0.1:{port}", "--no-hf-cache", "--no-web-seeds", *QUIET
        user.ok("fetch", f"{REPO}@{COMMITS[0]}", *options)
        done = user.ok("fetch", f"{REPO}@{COMMITS[1]}", *options)
    assert done["bytes_from_peers"] == len(newer["config.json"])
    assert done["bytes_reused"] == sum(map(len, newer.values())) - len(newer["config.json"])
    assert tree(held(user, COMMITS[1])) == newer
    assert (held(user, COMMITS[1]) / "model.safetensors").samefile(held(user) / "model.safetensors")


def test_a_rotten_file_of_another_revision_is_neither_kept_nor_written_to(preserver):
    preserver.preserve(small_model())
    newer = {**small_model(), "config.json": b'{"model_type": "qwen3", "version": 2}\n'}
    preserver.preserve(newer, COMMITS[1])
    user = preserver.trusted_by("user")
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), preserver.user.environment) as seeder:
        port = seeder.json_line(30, containing='"listening"')["port"]
        seeder.line(30, containing=COMMITS[0])
        options = "--peer", f"127.0.0.1:{port}", "--no-hf-cache", "--no-web-seeds", *QUIET
        user.ok("fetch", f"{REPO}@{COMMITS[0]}", *options)
        rotten = held(user) / "model.safetensors"
        content = bytearray(rotten.read_bytes())
        content[2_000_000] ^= 0x40
        rotten.write_bytes(content)
        done = user.ok("fetch", f"{REPO}@{COMMITS[1]}", *options)
    assert 0 < done["bytes_from_peers"] <= 262144 + len(newer["config.json"])  # the bad piece alone
    assert tree(held(user, COMMITS[1])) == newer
    assert rotten.read_bytes() == content
