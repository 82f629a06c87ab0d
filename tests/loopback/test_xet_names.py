"""Xet hashes of what is held: kept, made offline, compared with the Hub's; `hf download` of a twin finds the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pqwen.hub.xet_hashing import XetHashing
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder

REPO, TWIN = "Qwen/Tiny", "Other/Twin"
WEIGHTS = "model.safetensors"
HF = Path(sys.executable).with_name("hf")


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        simulator.add(REPO, write_folder(tmp_path / "src", small_model()))
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path, hub.endpoint)


def record(user):
    (path,) = (user.home / "xet").iterdir()
    (names,) = json.loads(path.read_text())["files"].values()
    return names


def weights_of(hub):
    return next(
        file for file in hub.repository(REPO).commits[hub.repository(REPO).branches["main"]].values() if file.sha256
    )


def test_the_simulators_names_are_those_that_hf_xet_makes(hub, tmp_path):
    assert [hub.xet.hash_of(weights_of(hub))] == XetHashing(tmp_path / "log")([tmp_path / "src" / WEIGHTS])


def test_they_are_kept_and_made_once_without_the_hub(hub, user):
    user.ok("preserve", REPO)
    listed = hub.xet.hash_of(weights_of(hub))
    assert record(user) == {"listed": listed, "made": None}
    hub.close()
    found = user.ok("verify", REPO)
    assert found["warnings"] == []
    assert record(user) == {"listed": listed, "made": listed}
    user.ok("remove", REPO, "--yes")
    assert not list((user.home / "xet").iterdir())


def test_verify_says_where_the_hub_lists_another(hub, user):
    file = weights_of(hub)
    hub.xet.hashes[str(file.sha256)] = "c" * 64
    user.ok("preserve", REPO)
    found = user.run("verify", REPO, "--json")
    assert (found.code, found.json["ok"], found.json["bad"]) == (0, True, [])
    (warning,) = found.json["warnings"]
    made = record(user)["made"]
    assert warning == f"the Hub lists {WEIGHTS} under another Xet hash, {'c' * 64}, than its bytes have, {made}"
    again = user.run("preserve", REPO)
    assert warning in again.stderr
    del hub.xet.hashes[str(file.sha256)]
    assert "another Xet hash" not in user.run("preserve", REPO).stderr
    assert user.ok("verify", REPO)["warnings"] == []


def test_without_xet_nothing_is_kept_and_nothing_asked(hub, user):
    hub.xet.served = False
    user.ok("preserve", REPO)
    assert user.ok("verify", REPO)["warnings"] == []
    assert not (user.home / "xet").exists()


def test_a_twin_is_not_downloaded_again_by_hf_download(hub, user, tmp_path):
    user.ok("preserve", REPO)
    user.ok("fetch", REPO, "--set-main", "--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
    hub.add(TWIN, write_folder(tmp_path / "twin", small_model() | {"README.md": b"# Twin\n"}))
    before = hub.count(kind="xorb") + hub.count(kind="cdn")
    done = subprocess.run(
        [HF, "download", TWIN],
        env={**os.environ, **user.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert hub.count(kind="xorb") + hub.count(kind="cdn") == before
    (found,) = (user.cache / "models--Other--Twin" / "snapshots").iterdir()
    assert (found / WEIGHTS).read_bytes() == small_model()[WEIGHTS]


def test_what_hf_download_stored_serves_preserve(hub, user):
    done = subprocess.run(
        [HF, "download", REPO], env={**os.environ, **user.environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before = hub.count(kind="xorb") + hub.count(kind="cdn")
    for blob in (user.cache / "models--Qwen--Tiny" / "blobs").iterdir():
        blob.unlink()  # the store alone has it now
    assert user.ok("preserve", REPO)["provenance"] == "proven"
    assert hub.count(kind="xorb") + hub.count(kind="cdn") == before
