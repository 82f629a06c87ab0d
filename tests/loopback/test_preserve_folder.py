"""`preserve --from`: a folder that is already there, linked, compared with git, and clear about what cannot be."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder

REPO = "Qwen/Tiny"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path)  # no Hub: a folder needs none


def named(commit):
    return "--repo", REPO, "--commit", str(commit)


def looks(folder):
    return {
        path: (path.read_bytes(), stat.st_nlink, stat.st_mode, stat.st_mtime_ns, stat.st_ino)
        for path in folder.rglob("*")
        if path.is_file() and (stat := path.stat())
    }


@pytest.mark.parametrize("hard_links", [False, True])
def test_proven_by_git_and_the_folder_left_as_it_was(hub, user, tmp_path, hard_links):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    before = looks(folder)
    more = ("--hard-links",) if hard_links else ()
    done = user.ok("preserve", "--from", folder, *named(commit), "--git", f"{hub.endpoint}/{REPO}", *more)
    assert done["provenance"] == "proven"
    held = user.home / "library" / "Qwen" / "Tiny" / str(commit) / "model.safetensors"
    assert held.samefile(folder / "model.safetensors") is hard_links
    assert user.ok("verify", REPO)["ok"] is True
    if not hard_links:
        assert looks(folder) == before


def test_no_room_for_copies_names_the_flag_that_needs_none(hub, user, tmp_path):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    user.home.mkdir()
    (user.home / "config.toml").write_text('[library]\nreserve = "1000TB"\n')
    ended = user.run("preserve", "--from", folder, *named(commit))
    assert (ended.code, "--hard-links" in ended.stderr) == (6, True), ended
    user.ok("preserve", "--from", folder, *named(commit), "--hard-links")


def test_the_same_torrent_as_from_the_hub(hub, tmp_path):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    from_hub = CommandLine(tmp_path / "a", hub.endpoint).ok("preserve", REPO)
    user = CommandLine(tmp_path / "b", hub.endpoint)
    from_folder = user.ok("preserve", "--from", folder, *named(commit), "--git", f"{hub.endpoint}/{REPO}")
    for key in ("infohash_v1", "infohash_v2", "manifest_sha256"):
        assert from_folder[key] == from_hub[key]


def test_a_clone_brings_its_own_git(user, tmp_path):
    folder = write_folder(tmp_path / "clone", {"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n"})
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    done = user.ok("preserve", "--from", folder, *named(commit))
    assert (done["provenance"], done["files"]) == ("proven", 2)


def test_without_git_the_rules_in_gitattributes_decide_and_it_says_unproven(hub, user, tmp_path):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    ended = user.run("preserve", "--from", folder, *named(commit), "--json")
    assert ended.json["provenance"] == "unproven"
    assert "unproven" in ended.stderr
    assert ended.json["infohash_v2"] == CommandLine(tmp_path / "b", hub.endpoint).ok("preserve", REPO)["infohash_v2"]


def test_what_hf_download_leaves_beside_the_files_is_not_payload(hub, user, tmp_path):
    from huggingface_hub import snapshot_download

    commit = hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    snapshot_download(
        REPO, endpoint=hub.endpoint, local_dir=tmp_path / "local", cache_dir=tmp_path / "other", token=False
    )
    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=tmp_path / "cache", token=False)
    cached = tmp_path / "cache" / "models--Qwen--Tiny" / "snapshots" / str(commit)
    for index, folder in enumerate((tmp_path / "local", cached)):
        user = CommandLine(tmp_path / str(index))
        done = user.ok("preserve", "--from", folder, *named(commit), "--git", f"{hub.endpoint}/{REPO}")
        assert done["provenance"] == "proven"


def _spoil(folder):
    (folder / "model.safetensors").write_bytes(noise(3_000_000, "other"))


def _lack(folder):
    (folder / "config.json").unlink()


def _add(folder):
    (folder / "extra.txt").write_bytes(b"x")


def _pointer(folder):
    (folder / "model.safetensors").write_bytes(POINTER)


def _link_out(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")


def _link_folder(folder):
    (folder / "linked").symlink_to(folder / "model")


def _bad_name(folder):
    (folder / "CON.txt").write_bytes(b"x")


def _bidi_name(folder):
    (folder / "a\u202egpj.json").write_bytes(b"x")


def _clash(folder):
    (folder / "CONFIG.json").write_bytes(b"x")


def _pipe(folder):
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize(
    ("spoil", "with_git", "words"),
    [
        (_spoil, True, "model.safetensors is not what its LFS pointer names"),
        (_lack, True, "lacks config.json"),
        (_add, True, "also holds extra.txt"),
        (_pointer, True, "is an LFS pointer, not the file itself"),
        (_pointer, False, "is an LFS pointer, not the file itself"),
        (_link_out, False, "is a link out of the folder"),
        (_link_folder, False, "is a link to a folder"),
        (_bad_name, False, "device name on Windows"),
        (_bidi_name, False, "is not safe to create"),
        (_clash, False, "clash"),
        (_pipe, False, "is not a regular file"),
    ],
)
def test_what_cannot_be_preserved_is_refused_by_name(hub, user, tmp_path, spoil, with_git, words):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    copy = write_folder(tmp_path / "copy", small_model())
    spoil(copy)
    git = ("--git", f"{hub.endpoint}/{REPO}") if with_git else ()
    ended = user.run("preserve", "--from", copy, *named(commit), *git)
    assert ended.code == 3, ended
    assert words in ended.stderr
    assert user.ok("list")["snapshots"] == []
    assert not list((user.home / "library").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--from", "no-such-folder", *named("a" * 40)), 2),
        (("--from", "."), 2),
        (("--from", ".", "--repo", REPO, "--commit", "main"), 2),
        (("--from", ".", "--repo", "x", "--commit", "a" * 40), 2),
        ((REPO, "--git", "x"), 2),
        ((), 2),
    ],
)
def test_wrong_usage(user, arguments, code):
    assert user.run("preserve", *arguments).code == code


def test_a_commit_that_the_named_git_does_not_have(user, tmp_path):
    folder = write_folder(tmp_path / "src", small_model())
    subprocess.run(["git", "init", "-q", tmp_path / "git"], check=True)
    ended = user.run("preserve", "--from", folder, *named("b" * 40), "--git", tmp_path / "git")
    assert ended.code == 4
    assert user.ok("list")["snapshots"] == []


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def committed(folder, files):
    write_folder(folder, files)
    git(folder, "init", "-q")
    git(folder, "-c", "core.autocrlf=false", "add", ".")
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "HEAD")


CLUTTER = (".DS_Store", "sub/._weights.bin", "Thumbs.db", ".msc", "weights.bin.aria2", "__MACOSX/._a")


@pytest.mark.parametrize("with_git", [True, False])
def test_what_a_system_left_there_is_left_out_and_named(hub, user, tmp_path, with_git):
    folder = write_folder(tmp_path / "src", small_model())
    commit = hub.add(REPO, folder)
    write_folder(folder, dict.fromkeys(CLUTTER, b"x"))
    more = ("--git", f"{hub.endpoint}/{REPO}") if with_git else ()
    ended = user.run("preserve", "--from", folder, *named(commit), *more, "--json")
    assert ended.code == 0, ended
    assert ended.json["provenance"] == ("proven" if with_git else "unproven")
    assert ended.json["infohash_v2"] == CommandLine(tmp_path / "b", hub.endpoint).ok("preserve", REPO)["infohash_v2"]
    assert "left out, not part of a model: " in ended.stderr
    assert "'.DS_Store'" in ended.stderr


def test_what_a_commit_holds_is_a_part_of_it_whatever_its_name(user, tmp_path):
    commit = committed(tmp_path / "clone", {"config.json": b"{}", ".DS_Store": b"x"})
    done = user.ok("preserve", "--from", tmp_path / "clone", *named(commit))
    assert (done["provenance"], done["files"]) == ("proven", 2)


def test_a_clone_with_the_line_ends_of_windows_gives_the_commits_bytes(user, tmp_path):
    files = {"config.json": b'{\n "a": 1\n}\n', "kept.txt": b"a\r\nb\n", "weights.bin": b"\0\r\n" * 9}
    commit = committed(tmp_path / "origin", files)
    subprocess.run(
        ["git", "-c", "core.autocrlf=true", "clone", "-q", tmp_path / "origin", tmp_path / "clone"], check=True
    )
    assert (tmp_path / "clone" / "config.json").read_bytes() == b'{\r\n "a": 1\r\n}\r\n'
    before = looks(tmp_path / "clone")
    ended = user.run("preserve", "--from", tmp_path / "clone", *named(commit), "--json")
    assert ended.code == 0, ended
    assert ended.json["provenance"] == "proven"
    assert "1 file had CRLF line endings from git" in ended.stderr
    held = user.home / "library" / "Qwen" / "Tiny" / commit
    assert {name: (held / name).read_bytes() for name in files} == files
    assert looks(tmp_path / "clone") == before
    assert user.run("preserve", "--from", tmp_path / "clone", *named(commit), "--json").json["unchanged"] is True


def treeless(folder, origin):
    """A clone of the commit alone, whose remote is gone: no tree can be read."""
    git(origin, "config", "uploadpack.allowFilter", "true")
    clone = ["git", "clone", "-q", "--filter=tree:0", "--no-checkout", f"file://{origin}", str(folder)]
    subprocess.run(clone, check=True, capture_output=True)
    git(folder, "remote", "remove", "origin")


def test_the_commit_of_a_treeless_clone_proves_the_files_beside_it(user, tmp_path):
    origin = tmp_path / "origin"
    write_folder(origin, {"config.json": b"{}", "run.sh": b"#!/bin/sh\n", "model/weights.bin": noise(50_000, "w")})
    (origin / "run.sh").chmod(0o755)
    (origin / "alias.json").symlink_to("config.json")
    commit = committed(origin, {})
    folder = tmp_path / "clone"
    treeless(folder, origin)
    subprocess.run(f"cp -a {origin}/[!.]* {folder}/", shell=True, check=True)
    ended = user.run("preserve", "--from", folder, *named(commit), "--json")
    assert ended.code == 0, ended
    assert "no tree from git" in ended.stderr
    assert (ended.json["provenance"], ended.json["files"]) == ("proven", 4)
    assert user.ok("verify", REPO)["ok"] is True


def test_a_commit_that_the_files_do_not_make_proves_nothing(user, tmp_path):
    origin = tmp_path / "origin"
    commit = committed(origin, {"config.json": b"{}"})
    treeless(tmp_path / "clone", origin)
    write_folder(tmp_path / "clone", {"config.json": b"[]"})
    ended = user.run("preserve", "--from", tmp_path / "clone", *named(commit), "--json")
    assert ended.code == 0, ended
    assert ended.json["provenance"] == "unproven"
    assert "the commit object proves nothing" in ended.stderr
