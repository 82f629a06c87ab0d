"""`fetch` and the Hugging Face cache: what it has is not downloaded, what is wrong is mended, and it fails nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from tests.support.command import CommandLine
from tests.support.forged import looks_of
from tests.support.models import noise, small_model
from tests.support.swarm import COMMIT, QUIET, REPO, preserve, seeding

FILES = small_model()
SIZE = sum(map(len, FILES.values()))
WEIGHTS = "model.safetensors"
FOLDER = "models--Qwen--Tiny"
OTHER = "b2" * 20
NOBODY = (*QUIET, "--no-web-seeds", "--timeout", "5")


class Keeper:
    """Somebody who preserved a model, published it, and seeds it."""

    def __init__(self, folder: Path) -> None:
        self.user = CommandLine(folder / "keeper")
        preserve(self.user, folder / "model", FILES)
        self.id = self.user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
        self.site = folder / "site"
        self.user.ok("publish", "--out", self.site, "--yes")
        self.peer = ""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    one = Keeper(tmp_path_factory.mktemp("keeper"))
    with seeding(one.user) as (_, one.peer):
        yield one


@pytest.fixture
def user(tmp_path, keeper):
    someone = CommandLine(tmp_path / "user")
    someone.ok("trust", "add", keeper.id, "--index", keeper.site)
    return someone


@pytest.fixture
def fetching(keeper):
    return ("fetch", REPO, "--peer", keeper.peer, *QUIET, "--no-web-seeds", "--timeout", "30")


@pytest.fixture
def cached(user, fetching):
    """The user's cache holds the model, and the library does not any more."""
    done = user.ok(*fetching)
    user.ok("remove", f"{REPO}@{COMMIT}", "--yes")
    return Path(done["hf_cache"])


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestTaken:
    def test_what_the_cache_has_takes_nobody(self, user, cached):
        before = looks_of(user.cache)
        ended = user.run("fetch", REPO, *NOBODY, "--json")
        done = ended.json
        assert (done["bytes_from_peers"], done["bytes_from_web_seeds"], done["bytes_reused"]) == (0, 0, SIZE)
        assert "of the Hugging Face cache copied" in ended.stderr
        assert content(Path(done["path"])) == FILES
        assert looks_of(user.cache) == before  # link counts too: nothing of it has a second name in the library
        assert user.ok("verify", f"{REPO}@{COMMIT}")["ok"]

    def test_the_rest_comes_from_a_peer(self, user, fetching, cached):
        (cached / WEIGHTS).resolve().unlink()
        done = user.ok(*fetching)
        assert done["bytes_reused"] == SIZE - len(FILES[WEIGHTS])
        assert done["bytes_from_peers"] > 0
        assert content(Path(done["path"])) == content(cached) == FILES

    @pytest.mark.parametrize("size", ["the right size", "another size"])
    def test_a_wrong_blob_of_the_right_name_is_not_taken(self, user, fetching, cached, size):
        blob = (cached / WEIGHTS).resolve()
        blob.write_bytes(noise(len(FILES[WEIGHTS]) - (size == "another size"), "rot"))
        done = user.ok(*fetching)
        assert done["bytes_from_peers"] >= len(FILES[WEIGHTS])
        assert content(Path(done["path"])) == content(cached) == FILES

    def test_no_hf_cache_leaves_it_alone(self, user, fetching, cached):
        done = user.ok(*fetching, "--no-hf-cache")
        assert (done["bytes_reused"], done["bytes_from_peers"]) == (0, SIZE)

    def test_other_repositories_give_weights(self, user, keeper, cached):
        (user.cache / FOLDER).rename(user.cache / "models--Other--Copy")
        done = user.ok("fetch", REPO, "--peer", keeper.peer, *QUIET, "--no-web-seeds", "--timeout", "30")
        assert done["bytes_reused"] == len(FILES[WEIGHTS])


class TestUnwritable:
    @pytest.fixture
    def blocked(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        return {"HF_HUB_CACHE": str(tmp_path / "file" / "hub")}

    def test_the_fetch_is_done_and_the_next_one_tries_again(self, user, fetching, blocked):
        ended = user.run(*fetching, "--json", **blocked)
        assert ended.code == 0, ended
        assert ended.json["hf_cache"] is None
        assert ended.json["verified"] is True
        (warning,) = [one for one in ended.json["warnings"] if one.startswith("hf cache:")]
        assert blocked["HF_HUB_CACHE"] in warning or str(Path(blocked["HF_HUB_CACHE"]).parent) in warning
        assert "--no-hf-cache" in warning
        assert "HF_HUB_OFFLINE" not in user.run("fetch", REPO, **blocked).stdout
        again = user.ok("fetch", REPO)
        assert again["unchanged"] is True
        assert content(Path(again["hf_cache"])) == FILES
        assert not [one for one in again["warnings"] if one.startswith("hf cache:")]

    @pytest.mark.parametrize("option", ["--hf-cache", "--set-main"])
    def test_who_insists_gets_an_error_and_keeps_what_came(self, user, fetching, blocked, option):
        ended = user.run(*fetching, option, **blocked)
        assert ended.code == 6, ended
        assert "not put into the Hugging Face cache" in ended.stderr
        assert "it is kept in" in ended.stderr
        assert user.ok("list")["snapshots"][0]["state"] == "complete"

    def test_a_full_disk_of_the_cache_ends_no_fetch(self, user, fetching, monkeypatch):
        monkeypatch.setattr("p2pqwen.hub.cache._on_another_disk", lambda *_: True)
        monkeypatch.setattr("p2pqwen.hub.cache._free", lambda _: 10)
        ended = user.run(*fetching, "--json")
        assert ended.code == 0, ended
        assert any("No space left" in one and str(user.cache) in one for one in ended.json["warnings"])
        assert not user.cache.exists()


class TestRefs:
    @pytest.mark.parametrize("text", [OTHER, f"{OTHER}\n", "", "main\n"], ids=repr)
    def test_one_that_names_nothing_is_mended_and_told(self, user, fetching, text):
        ref = user.cache / FOLDER / "refs" / "main"
        ref.parent.mkdir(parents=True)
        ref.write_text(text)
        ended = user.run(*fetching)
        assert ended.code == 0
        assert "refs/main of the Hugging Face cache" in ended.stderr
        assert COMMIT in ended.stderr
        assert ref.read_bytes() == COMMIT.encode()
        assert loads_by_name(user)

    def test_a_line_end_goes(self, user, fetching):
        user.ok(*fetching)
        ref = user.cache / FOLDER / "refs" / "main"
        ref.write_text(f"{COMMIT}\n")
        assert not loads_by_name(user)
        assert user.run("fetch", REPO).code == 0
        assert ref.read_bytes() == COMMIT.encode()
        assert loads_by_name(user)

    def test_a_good_one_stays(self, user, fetching):
        ref = user.cache / FOLDER / "refs" / "main"
        ref.parent.mkdir(parents=True)
        ref.write_text(OTHER)
        (user.cache / FOLDER / "snapshots" / OTHER).mkdir(parents=True)
        ended = user.run(*fetching)
        assert (ended.code, "refs/main" in ended.stderr) == (0, False)
        assert ref.read_text() == OTHER

    def test_hf_cache_prune_keeps_what_was_laid(self, user, fetching):
        """A later look at the Hub moved refs/main on: without a ref of ours nothing would name the snapshot."""
        user.ok(*fetching)
        (user.cache / FOLDER / "snapshots" / OTHER).mkdir()
        (user.cache / FOLDER / "refs" / "main").write_text(OTHER)
        hf = shutil.which("hf", path=str(Path(sys.executable).parent))
        assert hf is not None
        environment = {**os.environ, "HF_HUB_CACHE": str(user.cache), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [hf, "cache", "prune", "--yes"], capture_output=True, text=True, env=environment, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert content(user.cache / FOLDER / "snapshots" / COMMIT) == FILES
        (repo,) = scan_cache_dir(user.cache).repos
        assert all(one.refs for one in repo.revisions)


def loads_by_name(user):
    """Whether huggingface_hub finds the model by its name, without asking anybody."""
    code = f"import huggingface_hub; print(huggingface_hub.snapshot_download({REPO!r}, local_files_only=True))"
    environment = {**os.environ, "HF_HUB_CACHE": str(user.cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    return done.returncode == 0


def test_the_last_line_says_how_to_load_it_without_the_hub(user, fetching):
    lines = user.run(*fetching).stdout.splitlines()
    assert "HF_HUB_OFFLINE=1" in lines[-1]
    assert "HF_HUB_OFFLINE" not in user.run("fetch", REPO, "--no-hf-cache").stdout


def test_doctor_looks_at_it(user, fetching):
    def cache():
        return [one for one in json.loads(user.run("doctor", "--json").stdout)["findings"] if one["check"] == "cache"]

    (before,) = cache()
    assert (before["ok"], "not there yet" in before["detail"]) == (True, True)
    user.ok(*fetching)
    (good,) = cache()
    assert (good["ok"], good["advice"]) == (True, None)
    (user.cache / FOLDER / "refs" / "main").write_text(OTHER)
    assert not (user.cache / FOLDER / ".no_exist").exists()  # signed, not proven
    (refs,) = cache()
    assert (refs["ok"], f"{FOLDER}/refs/main" in refs["detail"]) == (False, True)
    user.ok("fetch", f"{REPO}@{COMMIT}")
    assert cache() == [good]
