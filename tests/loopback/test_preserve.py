"""`preserve` against a Hub: whole, verified, resumable, and clear about what is wrong."""

from __future__ import annotations

import hashlib
import signal
import subprocess

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

REPO = "Qwen/Tiny"


@pytest.fixture
def hub():
    with HubSimulator(tokens=["hf_known"]) as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path, hub.endpoint)


def nothing_held(user):
    kept = {"locks", "log"}
    found = [path for path in user.home.rglob("*") if path.is_file() and kept.isdisjoint(path.parts)]
    return user.ok("list")["snapshots"] == [] and not [path for path in found if ".staging" not in path.parts]


def test_a_snapshot_comes_whole_and_proven(hub, user, tmp_path):
    files = {**small_model(), "old.bin": noise(20_000, "pickle")}
    commit = hub.add(REPO, write_folder(tmp_path / "src", files))
    done = user.ok("preserve", REPO)
    assert done["repo"] == REPO
    assert done["commit"] == str(commit)
    assert done["files"] == len(files)
    assert done["size"] == sum(map(len, files.values()))
    assert done["provenance"] == "proven"
    assert done["license"] == "apache-2.0"
    assert done["hazards"] == ["old.bin"]
    folder = user.home / "library" / "Qwen" / "Tiny" / str(commit)
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == files
    metainfo = parse_metainfo((folder.parent / f"{commit}.torrent").read_bytes())
    assert metainfo.name == str(commit)
    assert metainfo.web_seeds == (f"{hub.endpoint}/{REPO}/resolve/",)
    assert str(metainfo.infohash.v1) == done["infohash_v1"] in done["magnet"]
    assert str(metainfo.infohash.v2) == done["infohash_v2"]
    assert hashlib.sha256(metainfo.manifest).hexdigest() == done["manifest_sha256"]
    assert user.ok("list")["snapshots"][0]["state"] == "complete"
    checked = user.ok("verify", f"{REPO}@{commit}")
    assert (checked["ok"], checked["files"], checked["bad"]) == (True, len(files), [])
    before = len(hub.log)
    assert user.ok("preserve", REPO)["unchanged"] is True
    assert {call.kind for call in hub.log[before:]} <= {"info", "tree", "list", "refs"}


def test_two_preservers_make_the_same_torrent(hub, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    made = [CommandLine(tmp_path / name, hub.endpoint).ok("preserve", REPO) for name in ("one", "two")]
    for key in ("infohash_v1", "infohash_v2", "manifest_sha256", "magnet"):
        assert made[0][key] == made[1][key]


def test_an_older_revision_and_a_branch(hub, user, tmp_path):
    first = hub.add(REPO, write_folder(tmp_path / "one", small_model()))
    second = hub.add(REPO, write_folder(tmp_path / "two", {**small_model(), "config.json": b"{}"}))
    assert user.ok("preserve", f"{REPO}@{first}")["commit"] == str(first)
    assert user.ok("preserve", f"{REPO}@main")["commit"] == str(second)
    assert len(user.ok("list")["snapshots"]) == 2


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("corrupt", "model.safetensors", "model.safetensors has the wrong SHA-256"),
        ("corrupt", "config.json", "config.json has the wrong git blob id"),
    ],
)
def test_other_bytes_than_promised_are_refused_and_named(hub, user, tmp_path, name, path, word):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    hub.fault(name, path)
    ended = user.run("preserve", REPO)
    assert ended.code == 3
    assert word in ended.stderr
    assert "expected" in ended.stderr
    assert "got" in ended.stderr
    assert nothing_held(user)
    hub.faults.clear()
    assert user.ok("preserve", REPO)["provenance"] == "proven"


@pytest.mark.parametrize("policy", ["allow", "ignore", "refuse"])
def test_provenance_with_every_kind_of_git_server(hub, user, tmp_path, policy):
    hub.git_filter = policy
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    assert user.ok("preserve", REPO)["provenance"] == "proven"


def test_real_git_serves_the_commit_object(hub, user, tmp_path):
    hub.git = "backend"
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    assert user.ok("preserve", REPO)["provenance"] == "proven"


@pytest.mark.parametrize("git", ["off", "forbidden"])
def test_without_git_it_says_unproven_aloud(hub, user, tmp_path, git):
    hub.git = git
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    ended = user.run("preserve", REPO, "--json")
    assert ended.code == 0
    assert ended.json["provenance"] == "unproven"
    assert "warning: provenance: unproven" in ended.stderr


def test_an_executable_file_is_proven_too(hub, user, tmp_path):
    folder = write_folder(tmp_path / "src", {**small_model(), "run.sh": b"#!/bin/sh\n"})
    hub.repository(REPO).commit(folder, executable=("run.sh",))
    assert user.ok("preserve", REPO)["provenance"] == "proven"


@pytest.mark.parametrize("kind", ["gated", "private"])
def test_closed_repositories_need_a_word(hub, user, tmp_path, kind):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    setattr(hub.repository(REPO), kind, True)
    ended = user.run("preserve", REPO, HF_TOKEN="hf_known")
    assert ended.code == 1
    assert f"is {kind}" in ended.stderr
    assert "--allow-gated" in ended.stderr
    assert nothing_held(user)
    assert user.ok("preserve", REPO, "--allow-gated", HF_TOKEN="hf_known")["provenance"] == "proven"


@pytest.mark.parametrize(
    ("target", "code"), [("Qwen/None", 4), (f"{REPO}@nobranch", 4), ("notarepo", 2), ("a/b/c", 2), (f"{REPO}@", 2)]
)
def test_names_that_lead_nowhere(hub, user, tmp_path, target, code):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    ended = user.run("preserve", target)
    assert ended.code == code
    assert ended.stderr.startswith("error: ")


def test_nobody_answers(user):
    user.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert user.run("preserve", REPO).code == 5


@pytest.mark.parametrize(
    ("line", "expected"), [(b"license: other", "other"), (b"language: en", None), (b"license: mit", "mit")]
)
def test_licenses_that_do_not_clearly_allow_are_warned_about(hub, user, tmp_path, line, expected):
    readme = b"---\n" + line + b"\n---\n"
    hub.add(REPO, write_folder(tmp_path / "src", {**small_model(10_000), "README.md": readme}))
    ended = user.run("preserve", REPO, "--json")
    assert ended.json["license"] == expected
    assert ("warning: license" in ended.stderr) == (expected != "mit")


def test_a_killed_run_goes_on_without_fetching_finished_files_again(hub, user, tmp_path):
    files = {**small_model(), "second.safetensors": noise(2_000_000, "second")}
    commit = hub.add(REPO, write_folder(tmp_path / "src", files))
    hub.fault("hang", "second.safetensors", on=("cdn",))
    staged = user.home / "library" / ".staging" / "Qwen" / "Tiny" / str(commit)
    with running(p2pqwen("preserve", REPO), user.environment) as process:
        wait_until(lambda: len(list(staged.glob("*.*"))) >= 4 and (staged / "model.safetensors").exists(), 30, "files")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert nothing_held(user)
    fetched = hub.count(kind="cdn", path="model.safetensors", method="GET")
    assert fetched == 1
    hub.faults.clear()
    assert user.ok("preserve", REPO)["provenance"] == "proven"
    assert hub.count(kind="cdn", path="model.safetensors", method="GET") == fetched


def test_interrupting_ends_at_once_with_130(hub, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    hang = hub.fault("hang", "model.safetensors", on=("cdn",))
    with running(p2pqwen("preserve", REPO), user.environment) as process:
        wait_until(lambda: hang.met > 0, 30, "the download to hang")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert "Traceback" not in process.stderr


@pytest.mark.parametrize("hard_links", [False, True])
def test_the_hugging_face_cache_is_reused_and_left_as_it_was(hub, user, tmp_path, hard_links):
    from huggingface_hub import snapshot_download

    commit = hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=user.cache, token=False)
    fetched = hub.count(kind="cdn", method="GET")
    more = ("--hard-links",) if hard_links else ()
    assert user.ok("preserve", REPO, *more)["provenance"] == "proven"
    assert hub.count(kind="cdn", method="GET") == fetched
    held = user.home / "library" / "Qwen" / "Tiny" / str(commit) / "model.safetensors"
    cached = next((user.cache / "models--Qwen--Tiny" / "snapshots" / str(commit)).glob("model.safetensors")).resolve()
    assert held.samefile(cached) is hard_links
    assert cached.stat().st_nlink == 1 + hard_links


def test_a_bad_copy_in_the_cache_is_not_believed(hub, user, tmp_path):
    from huggingface_hub import snapshot_download

    commit = hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=user.cache, token=False)
    cached = (user.cache / "models--Qwen--Tiny" / "snapshots" / str(commit) / "model.safetensors").resolve()
    spoiled = bytearray(cached.read_bytes())
    spoiled[1000] ^= 1
    cached.chmod(0o644)
    cached.write_bytes(spoiled)
    ended = user.run("preserve", REPO, "--json")
    assert ended.code == 0
    assert "an existing copy was bad" in ended.stderr
    assert user.ok("verify", REPO)["ok"] is True
    assert cached.read_bytes() == spoiled  # it is the user's, not ours to mend


def test_a_full_disk_is_said_before_the_work(hub, user, tmp_path, monkeypatch):
    hub.add(REPO, write_folder(tmp_path / "src", small_model()))
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        ended = user.run("preserve", REPO, P2PQWEN_HOME=str(small))
        assert ended.code == 6
        assert "not enough room" in ended.stderr
        assert hub.count(kind="cdn") == 0
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_license_is_shown_before_anything_is_taken_and_may_be_asked_for(hub, user, tmp_path):
    readme = b"---\nlicense: other\nlicense_name: qwen-research\n---\n"
    hub.add(REPO, write_folder(tmp_path / "src", {**small_model(), "README.md": readme}))
    refused = user.run("preserve", REPO, "--license", "apache-*", "--license", "mit", "--json")
    assert (refused.code, "license qwen-research" in refused.stderr, "apache-*, mit" in refused.stderr) == (
        1,
        True,
        True,
    )
    assert {call.path for call in hub.log} & set(small_model()) == {"README.md"}
    assert nothing_held(user)
    assert not list((user.home / "library").rglob("README.md"))
    taken = user.run("preserve", REPO, "--license", "qwen-*", "--json")
    assert (taken.code, taken.json["license"]) == (0, "qwen-research"), taken
    told, first = (
        taken.stderr.index("license qwen-research (redistribution: conditional)"),
        taken.stderr.find("download:"),
    )
    assert first == -1 or told < first
    folder = tmp_path / "src"
    again = user.run("preserve", "--from", folder, "--repo", "Qwen/Other", "--commit", "1" * 40, "--license", "mit")
    assert (again.code, "license qwen-research" in again.stderr) == (1, True), again
    assert {one["repo"] for one in user.ok("list")["snapshots"]} == {REPO}
