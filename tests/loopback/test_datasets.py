"""Datasets: preserved, published, fetched and laid into the Hugging Face cache apart from models of the same name."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.swarm import QUIET, seeding

NAME = "Qwen/Tiny"  # a model too: the Hub keeps the names of each kind apart
DATASET = f"datasets/{NAME}"
FILES = {
    "README.md": b"---\nlicense: cc-by-4.0\nconfigs:\n- config_name: default\n  data_files: data/*.csv\n---\n# Rows\n",
    ".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n",
    "data/train.csv": b"question,answer\nwhy,because\n",
    "data/rows.parquet": noise(70_000, "rows"),
}


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        simulator.add(NAME, write_folder(tmp_path / "model", small_model()))
        simulator.add(DATASET, write_folder(tmp_path / "dataset", FILES))
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path / "user", hub.endpoint)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dataset_is_preserved_beside_the_model_of_its_name(hub, user):
    model, dataset = user.ok("preserve", NAME), user.ok("preserve", DATASET)
    assert (dataset["repo"], dataset["provenance"], dataset["license"]) == (DATASET, "proven", "cc-by-4.0")
    commit = dataset["commit"]
    assert files_below(user.home / "library" / "datasets" / "Qwen" / "Tiny" / commit) == FILES
    metainfo = parse_metainfo(Path(dataset["torrent"]).read_bytes())
    assert metainfo.web_seeds == (f"{hub.endpoint}/{DATASET}/resolve/",)
    assert metainfo.comment == f"{DATASET} @ {commit}"
    written = json.loads(metainfo.manifest)
    assert (written["repo"], written["repo_type"]) == (NAME, "dataset")
    assert str(parse_manifest(metainfo.manifest).snapshot) == f"{DATASET}@{commit}"
    held = {one["repo"]: one["commit"] for one in user.ok("list")["snapshots"]}
    assert held == {NAME: model["commit"], DATASET: commit}
    assert user.ok("verify", DATASET)["ok"]
    assert user.ok("verify", f"{DATASET}@{commit[:7]}")["files"] == len(FILES)
    asked = {call.kind for call in hub.log if call.repo == DATASET}
    assert asked >= {"info", "tree", "resolve", "git"}


def test_a_dataset_goes_round_the_swarm_into_the_cache(hub, user, tmp_path):
    """Published, found by its name in a trusted index, fetched from a peer, and where `datasets` looks for it."""
    dataset = user.ok("preserve", DATASET)
    identity = user.ok("keys", "init", "--name", "Keeper", "--no-passphrase")["publisher"]
    site = tmp_path / "site"
    user.ok("publish", "--out", site, "--yes")
    entry = json.loads((site / "index.json").read_text())["signed"]["entries"][0]
    assert (entry["repo"], entry["repo_type"]) == (NAME, "dataset")
    assert entry["torrent"] == f"{DATASET}/{dataset['commit']}.torrent"
    assert (site / entry["torrent"]).is_file()
    assert entry["web_seeds"][0] == f"{hub.endpoint}/{DATASET}/resolve/"
    reader = CommandLine(tmp_path / "reader")
    reader.ok("trust", "add", identity, "--index", site)
    found = reader.ok("search", "tiny")["results"]
    assert [(one["repo"], one["repo_type"]) for one in found] == [(NAME, "dataset")]
    with seeding(user) as (_, peer):
        done = reader.ok("fetch", DATASET, "--peer", peer, *QUIET, "--no-web-seeds")
    cached = Path(done["hf_cache"])
    assert cached.relative_to(reader.cache).parts[0] == "datasets--Qwen--Tiny"
    assert {name: (cached / name).read_bytes() for name in FILES} == FILES
    assert not (cached.parents[1] / ".no_exist").exists()  # those spare the loaders of models their questions


@pytest.mark.slow
def test_the_datasets_library_reads_one_offline(user, tmp_path):
    """By its folder: of a name alone, `datasets` 5.2.0 believes offline what it has made of it before."""
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("datasets is not installed")
    folder = user.ok("fetch", user.ok("preserve", DATASET)["torrent"], *QUIET)["hf_cache"]
    code = f"import datasets, json; print(json.dumps(list(datasets.load_dataset({folder!r}, split='train'))))"
    told = user.run("fetch", user.ok("list")["snapshots"][0]["repo"], *QUIET).stdout
    assert "offline     set HF_HUB_OFFLINE=1 and give load_dataset the path of the hf cache" in told
    environment = {**user.environment, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "datasets")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"question": "why", "answer": "because"}]


def test_an_organisations_datasets_and_a_watchlist_of_both_kinds(user, tmp_path):
    done = user.ok("preserve", "--org", "datasets/Qwen")
    assert [one["repo"] for one in done["preserved"]] == [DATASET]
    watchlist = tmp_path / "watchlist.toml"
    watchlist.write_text(f'format = 1\n[[model]]\nrepo = "{NAME}"\n[[dataset]]\nrepo = "{NAME}"\n')
    done = user.ok("preserve", "--watchlist", watchlist)
    assert [one["repo"] for one in done["preserved"]] == [NAME]
    assert {one["repo"] for one in user.ok("list")["snapshots"]} == {NAME, DATASET}


def test_a_withdrawn_dataset_leaves_the_model_alone(user, tmp_path):
    commits = {repo: user.ok("preserve", repo)["commit"] for repo in (NAME, DATASET)}
    user.ok("keys", "init", "--name", "Keeper", "--no-passphrase")
    site = tmp_path / "site"
    user.ok("publish", "--out", site, "--yes")
    user.ok("publish", "--out", site, "--yes", "--withdraw", f"{DATASET}@{commits[DATASET]}", "--reason", "leaked")
    signed = json.loads((site / "index.json").read_text())["signed"]
    assert [(one["repo"], one["repo_type"]) for one in signed["entries"]] == [(NAME, "model")]
    gone = {"repo": NAME, "repo_type": "dataset", "commit": commits[DATASET], "reason": "leaked"}
    assert signed["withdrawn"] == [gone]
