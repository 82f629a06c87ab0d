"""Symlinks, executable bits and odd LFS pointers are preserved as git has them: proven, and harmless on disk."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise
from tests.support.preserved import tree
from tests.support.processes import p2pqwen, running

WEIGHTS = noise(20_000, "weights")
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
CANONICAL = f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize {len(WEIGHTS)}\n".encode()
SPELLINGS = {
    "canonical": CANONICAL,
    "crlf": CANONICAL.replace(b"\n", b"\r\n"),
    "no-newline": CANONICAL.rstrip(b"\n"),
    "extension": CANONICAL.replace(b"oid", b"ext-0-gzip sha256:" + b"0" * 64 + b"\noid"),
    "older": CANONICAL.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
}
LINKS = {"alias.json": "config.json", "out": "../../../etc/passwd", "folder": "sub", "gone": "nowhere", "abs": "/etc"}
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", "-C", folder, *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "m")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def user(tmp_path) -> CommandLine:
    return CommandLine(tmp_path / "user")


@pytest.fixture
def linked(tmp_path) -> Path:
    """A work tree with links of every kind."""
    folder = tmp_path / "linked"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    return folder


def manifest_of(held: dict[str, str]) -> Manifest:
    data = parse_metainfo(Path(held["torrent"]).read_bytes()).manifest
    assert data is not None
    return parse_manifest(data)


def preserve(user: CommandLine, folder: Path, repo: str, commit: str) -> dict[str, str]:
    return user.ok("preserve", "--from", folder, "--repo", repo, "--commit", commit)


def holds_no_link(folder: Path) -> bool:
    return not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_clone_with_links_and_one_without_give_the_same(user, linked, tmp_path):
    commit = committed(linked)
    git(tmp_path, "clone", "-q", "-c", "core.symlinks=false", str(linked), str(tmp_path / "plain"))
    before = tree(linked)
    held = [preserve(user, folder, f"Org/{folder.name}", commit) for folder in (linked, tmp_path / "plain")]
    assert tree(linked) == before
    assert [one["provenance"] for one in held] == ["proven", "proven"]
    assert held[0]["infohash_v2"] == held[1]["infohash_v2"]
    modes = {row.path.text: row.mode for row in manifest_of(held[0]).files}
    assert modes == {"config.json": "100644", "sub/run.sh": "100755"} | dict.fromkeys(LINKS, "120000")
    for one in held:
        folder = Path(one["torrent"]).with_suffix("")
        assert holds_no_link(folder)
        assert {name: (folder / name).read_text() for name in LINKS} == LINKS
        assert user.ok("verify", f"{one['repo']}@{commit}")["ok"]


def test_links_of_the_hub_and_a_clone_are_the_same(user, linked, tmp_path):
    with HubSimulator() as hub:
        repository = hub.repository("Org/Linked")
        shutil.rmtree(linked / ".git")
        commit = str(repository.commit(linked, links=True, executable=("sub/run.sh",)))
        asks = CommandLine(tmp_path / "asks", hub.endpoint)
        held = asks.ok("preserve", "Org/Linked")
    assert (held["commit"], held["provenance"]) == (commit, "proven")
    assert holds_no_link(Path(held["torrent"]).with_suffix(""))
    assert {row.path.text for row in manifest_of(held).files if row.mode == "120000"} == set(LINKS)


def test_what_is_fetched_is_never_a_link(user, linked, tmp_path):
    """A stranger's manifest says `120000` and names a place outside: a reader gets a file with that text."""
    commit = committed(linked)
    held = preserve(user, linked, "Org/Linked", commit)
    reader = CommandLine(tmp_path / "reader")
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), user.environment) as seeder:
        port = seeder.json_line(30, containing='"listening"')["port"]
        seeder.line(30, containing='"seeding"')
        got = reader.ok("fetch", held["torrent"], "--peer", f"127.0.0.1:{port}", "--no-web-seeds", *QUIET)
    for folder in (Path(got["path"]), Path(got["hf_cache"])):
        assert {name: (folder / name).read_text() for name in LINKS} == LINKS
        for name in LINKS:
            assert (folder / name).resolve().is_relative_to(tmp_path)
    assert holds_no_link(Path(got["path"]))


def test_a_link_in_a_folder_without_git_is_its_content(user, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text("{}")
    (tmp_path / "plain" / "alias.json").symlink_to("config.json")
    held = preserve(user, tmp_path / "plain", "Org/Plain", "1" * 40)
    assert {row.path.text: (row.mode, row.size) for row in manifest_of(held).files} == {
        "alias.json": ("100644", 2),
        "config.json": ("100644", 2),
    }


def test_links_that_are_held_are_known_again_where_git_is_gone(user, linked):
    commit = committed(linked)
    held = preserve(user, linked, "Org/Linked", commit)
    shutil.rmtree(linked / ".git")
    again = preserve(user, linked, "Org/Linked", commit)
    assert (again["infohash_v2"], again["unchanged"]) == (held["infohash_v2"], True)
    (linked / "gone").unlink()
    (linked / "gone").symlink_to("thither")
    ended = user.run("preserve", "--from", linked, "--repo", "Org/Linked", "--commit", commit)
    assert ended.code == 3
    assert "other files under that name: gone" in ended.stderr


@pytest.mark.parametrize("change", ["another target", "a file in its place"])
def test_a_link_that_was_changed_is_not_the_commits(user, linked, change):
    commit = committed(linked)
    (linked / "alias.json").unlink()
    if change == "another target":
        (linked / "alias.json").symlink_to("sub/run.sh")
    else:
        shutil.copy(linked / "config.json", linked / "alias.json")
    ended = user.run("preserve", "--from", linked, "--repo", "Org/Linked", "--commit", commit)
    assert ended.code == 3
    assert "alias.json has the wrong git blob id" in ended.stderr


def with_pointer(folder: Path, pointer: bytes) -> str:
    """Commit a pointer in this spelling, lay the weights over it as git-lfs does, and return the commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "config", "filter.lfs.clean", "cat")
    git(folder, "config", "filter.lfs.smudge", "cat")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs -text\n")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(pointer)
    commit = committed(folder)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return commit


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_pointer_in_any_spelling_is_proven(user, tmp_path, spelling):
    pointer = SPELLINGS[spelling]
    commit = with_pointer(tmp_path / "clone", pointer)
    held = preserve(user, tmp_path / "clone", "Org/Tiny", commit)
    assert held["provenance"] == "proven"
    row = next(row for row in manifest_of(held).files if row.path.text == "model.safetensors")
    assert row.lfs
    assert row.pointer == (None if spelling == "canonical" else pointer.decode())
    assert user.ok("verify", "Org/Tiny")["ok"]
    assert preserve(user, tmp_path / "clone", "Org/Tiny", commit)["provenance"] == "proven"  # unchanged


def test_content_that_an_odd_pointer_does_not_name_is_refused(user, tmp_path):
    commit = with_pointer(tmp_path / "clone", SPELLINGS["crlf"])
    (tmp_path / "clone" / "model.safetensors").write_bytes(noise(20_000, "other"))
    ended = user.run("preserve", "--from", tmp_path / "clone", "--repo", "Org/Tiny", "--commit", commit)
    assert ended.code == 3
    assert "model.safetensors is not what its LFS pointer names" in ended.stderr


@pytest.mark.parametrize("git_of_the_hub", ["on", "backend"])
@pytest.mark.parametrize("spelling", ["crlf", "extension"])
def test_the_hub_and_a_clone_make_one_manifest(user, tmp_path, spelling, git_of_the_hub):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs -text\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    with HubSimulator() as hub:
        hub.git = git_of_the_hub
        pointers = {"model.safetensors": SPELLINGS[spelling]}
        commit = str(hub.repository("Org/Tiny").commit(folder, pointers=pointers))
        asks = CommandLine(tmp_path / "asks", hub.endpoint)
        held = asks.ok("preserve", "Org/Tiny")
        assert held["provenance"] == "proven"
        given = ("--repo", "Org/Tiny", "--commit", commit, "--git", f"{hub.endpoint}/Org/Tiny")
        ours = user.ok("preserve", "--from", folder, *given)
    assert ours["manifest_sha256"] == held["manifest_sha256"]


def test_a_pointer_that_cannot_be_had_is_known_before_the_download(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs -text\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    with HubSimulator() as hub:
        hub.repository("Org/Tiny").commit(folder, pointers={"model.safetensors": SPELLINGS["crlf"]})
        hub.git = "off"
        ended = CommandLine(tmp_path / "asks", hub.endpoint).run("preserve", "Org/Tiny")
        assert ended.code in {3, 4, 5}
        assert hub.count(kind="cdn", method="GET") == 0
