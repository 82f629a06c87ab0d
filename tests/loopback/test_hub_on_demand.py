"""The Hub's place where the library has nothing: files come from peers while they are read, and stay."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub import snapshot_download

from tests.support.hub_endpoint import ask, hub_process
from tests.support.models import small_model
from tests.support.swarm import seeding
from tests.support.world import REPO, seeded_world

FILES = small_model(600_000)
WEIGHTS = "model.safetensors"
SECONDS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        yield found


def resolve(path, revision="main"):
    return f"/{REPO}/resolve/{revision}/{quote(path)}"


def held(user):
    return user.ok("list")["snapshots"]


def test_a_file_that_only_a_peer_has(world):
    reader = world.trusting("one-file")
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        head = ask(url, resolve(WEIGHTS), method="HEAD")
        assert (head.status, int(head.headers["content-length"])) == (200, len(FILES[WEIGHTS]))
        assert head.headers["x-repo-commit"] == world.commit
        assert held(reader) == []  # asking after it brings nothing
        got = ask(url, resolve(WEIGHTS))
        assert (got.status, got.body) == (200, FILES[WEIGHTS])
        assert ask(url, resolve("config.json")).body == FILES["config.json"]
    [row] = held(reader)
    assert (row["state"], row["commit"]) == ("partial", world.commit)
    assert reader.ok("verify", REPO)["ok"]
    with hub_process(reader, "--no-upstream") as url:  # nobody is needed for what is here
        assert ask(url, resolve(WEIGHTS)).body == FILES[WEIGHTS]


def test_the_hubs_own_client_gets_it_all_and_it_is_whole_then(world, tmp_path):
    reader = world.trusting("whole")
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        folder = Path(snapshot_download(REPO, endpoint=url, cache_dir=tmp_path, token=False))
        assert {
            one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()
        } == FILES
    assert [row["state"] for row in held(reader)] == ["complete"]
    assert reader.ok("verify", REPO)["ok"]


def test_a_node_stands_in_the_hubs_place_too_and_seeds_what_was_read(world):
    """`[hub_endpoint] listen` in config.toml; what comes by the endpoint is served to peers afterwards."""
    reader = world.trusting("node")
    with (reader.home / "config.toml").open("a") as config:
        config.write(f'[hub_endpoint]\nlisten = "127.0.0.1:0"\nupstream = "never"\npeers = ["{world.peer}"]\n')
    with seeding(reader, snapshots=0) as (node, _):
        url = node.json_line(SECONDS, containing='"hub"')["url"]
        assert ask(url, resolve(WEIGHTS)).body == FILES[WEIGHTS]
        node.line(SECONDS, containing='"seeding"')
        ran = reader.run("run", "--", "sh", "-c", "echo $HF_ENDPOINT; exit 7")
    assert ran.code == 7
    assert url in ran.stderr
    [row] = held(reader)
    assert row["state"] == "partial"
