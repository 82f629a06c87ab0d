"""`git clone` of what the Hub's place serves: the commit id that upstream has, whole trees, LFS by its batch call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.support.hub_endpoint import ask, hub_process
from tests.support.models import small_model
from tests.support.waiting import PATIENT
from tests.support.world import REPO, seeded_world

FILES = small_model(600_000)
WEIGHTS = "model.safetensors"
LFS = shutil.which("git-lfs")
LFS_TYPE = "application/vnd.git-lfs+json"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture(scope="module")
def library(world):
    with hub_process(world.publishers_copy(world.folder / "copy"), "--no-upstream") as url:
        yield url


@pytest.fixture(scope="module")
def swarm(world):
    with hub_process(world.trusting("swarm"), "--no-upstream", "--peer", world.peer) as url:
        yield url


def git(*arguments, cwd, lfs=False):
    """Run git with nothing of this machine's own settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    } | ({} if lfs else {"GIT_LFS_SKIP_SMUDGE": "1"})
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60 * PATIENT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("place", ["library", "swarm"])
@pytest.mark.parametrize("suffix", ["", ".git"])
@pytest.mark.parametrize("options", [(), ("--depth", "1"), ("--filter=blob:none", "--no-checkout")])
def test_a_clone_has_the_commit_id_of_upstream(request, world, tmp_path, place, suffix, options):
    url = request.getfixturevalue(place)
    git("clone", "-q", *options, f"{url}/{REPO}{suffix}", "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    assert git("rev-parse", "HEAD", cwd=clone) == world.commit
    assert git("symbolic-ref", "HEAD", cwd=clone) == "refs/heads/main"
    assert git("fsck", "--full", "--strict", cwd=clone) == ""
    if "--no-checkout" not in options:
        assert git("status", "--porcelain", cwd=clone) == ""
        assert (clone / "tokenizer" / "résumé.json").read_bytes() == FILES["tokenizer/résumé.json"]
        assert (clone / WEIGHTS).read_bytes().startswith(b"version https://git-lfs")


@pytest.mark.parametrize("version", ["0", "1"])
def test_170_a_git_of_another_protocol_is_told_and_gets_no_empty_clone(library, tmp_path, version):
    command = ["git", "-c", f"protocol.version={version}", "clone", "-q", f"{library}/{REPO}", str(tmp_path / "clone")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60 * PATIENT, check=False)
    assert done.returncode == 128
    assert "only protocol version 2" in done.stderr


@pytest.mark.parametrize("place", ["library", "swarm"])
@pytest.mark.skipif(LFS is None, reason="git-lfs is not installed")
def test_lfs_brings_the_content(request, tmp_path, place):
    url = request.getfixturevalue(place)
    git("lfs", "install", cwd=tmp_path)
    git("clone", "-q", "--depth", "1", f"{url}/{REPO}", "clone", cwd=tmp_path, lfs=True)
    git("lfs", "pull", cwd=tmp_path / "clone", lfs=True)
    assert (tmp_path / "clone" / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def batch(url, objects, operation="download", path=f"/{REPO}.git/info/lfs/objects/batch"):
    body = json.dumps({"operation": operation, "transfers": ["basic"], "objects": objects}).encode()
    return ask(url, path, method="POST", body=body, Accept=LFS_TYPE, Content_Type=LFS_TYPE)


def test_the_batch_call_says_where_each_object_is(world, library):
    [files] = world.hub.repositories[REPO].commits.values()
    oid, size = files[WEIGHTS].sha256, files[WEIGHTS].size
    answer = batch(library, [{"oid": oid, "size": size}, {"oid": "0" * 64, "size": 1}, {"oid": oid, "size": 1}])
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, LFS_TYPE)
    found, unknown, other = answer.json["objects"]
    href = found["actions"]["download"]["href"]
    assert ask(library, href.removeprefix(library)).body == FILES[WEIGHTS]
    assert [one["error"]["code"] for one in (unknown, other)] == [404, 404]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"/{REPO}/info/refs", None, 403),
        ("GET", f"/{REPO}/info/refs?service=git-receive-pack", None, 403),
        ("GET", "/Qwen/Nothing/info/refs?service=git-upload-pack", None, 404),
        ("GET", f"/{REPO}/git-upload-pack", None, 405),
        ("POST", f"/{REPO}/git-receive-pack", b"0000", 404),
        ("POST", f"/{REPO}/git-upload-pack", b"no pkt-line", 400),
        ("POST", f"/{REPO}/git-upload-pack", b"", 200),
        ("POST", f"/{REPO}.git/info/lfs/objects/batch", b"[]", 422),
        ("POST", f"/{REPO}.git/info/lfs/objects/batch", b'{"operation": "download", "objects": [7]}', 422),
        ("POST", f"/{REPO}.git/info/lfs/objects/batch", b'{"operation": "upload", "objects": []}', 403),
        ("GET", f"/{REPO}.git/info/lfs/objects/batch", None, 405),
    ],
)
def test_141_git_requests_that_are_none(library, method, path, body, status):
    answer = ask(library, path, method=method, body=body)
    assert answer.status == status
    assert b"Traceback" not in answer.body
