"""The Hub's place and what is on this disk: what came before an interruption, and content that another place has."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.loopback.test_hub_on_demand import first_piece_of, opened, resolve, slow_peer
from tests.simulators.hub import HubSimulator
from tests.support.hub_endpoint import ask, hub_process
from tests.support.models import noise, small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET, seeding
from tests.support.waiting import wait_until
from tests.support.world import World

SECONDS = 60
WEIGHTS = "model.safetensors"
FILES = small_model(600_000)
LARGE = noise(3_000_000, "large")
FIRST, SECOND = "Qwen/First", "Else/Second"


def repository(name: str) -> dict[str, bytes]:
    return {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "config.json": name.encode(),
        f"weights/{WEIGHTS}" if name == FIRST else WEIGHTS: LARGE,
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two repositories that have one large file in common, under two names."""
    folder = tmp_path_factory.mktemp("world")
    with HubSimulator() as hub:
        found = World(folder, hub)
        for name in (FIRST, SECOND):
            hub.add(name, write_folder(folder / name.replace("/", "-"), repository(name)))
            found.publisher.ok("preserve", name)
        found.publisher.ok("publish", "--out", found.site, "--yes")
        with seeding(found.publisher, snapshots=3) as (_, found.peer):
            yield found


def weights(repo: str) -> str:
    return f"/{repo}/resolve/main/{'weights/' if repo == FIRST else ''}{WEIGHTS}"


def rows(user) -> dict[str, dict]:
    return {row["repo"]: row for row in user.ok("list")["snapshots"]}


def file_of(user, repo: str) -> Path:
    [folder] = (one for one in (user.home / "library" / repo).iterdir() if one.is_dir())
    return folder / ("weights" if repo == FIRST else "") / WEIGHTS


def test_what_came_before_the_end_of_the_node_is_not_fetched_again(world):
    """Killed in the middle of a file: the next one goes on from the pieces that are there."""
    reader, first = world.trusting("killed"), first_piece_of(world)
    command = p2pqwen("hub", "--listen", "127.0.0.1:0", "--json", *QUIET, "--no-upstream", "--peer")
    length = parse_metainfo(world.torrent.read_bytes()).piece_length
    with (
        slow_peer(world, held=lambda request: request.piece != first) as peer,
        running([*command, str(peer.endpoint)], reader.environment) as process,
        opened(process.json_line(SECONDS, containing='"hub"')["url"], resolve(WEIGHTS)) as response,
    ):
        assert response.read(length) == FILES[WEIGHTS][:length]
        process.kill()
    asked: set[int] = set()
    with (
        slow_peer(world, held=lambda request: asked.add(request.piece)) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
    ):
        assert ask(url, resolve(WEIGHTS)).body == FILES[WEIGHTS]
    assert asked
    assert first not in asked
    assert [row["state"] for row in rows(reader).values()] == ["partial"]


def test_content_of_another_repository_of_the_library_is_used(world):
    reader = world.trusting("library")
    reader.ok("fetch", FIRST, "--peer", world.peer)
    with hub_process(reader, "--no-upstream") as url:  # and there is nobody to ask
        assert ask(url, weights(SECOND), Range="bytes=2999990-").body == LARGE[-10:]
        assert ask(url, weights(SECOND)).body == LARGE
        assert ask(url, f"/{SECOND}/resolve/main/config.json").status == 504
    assert rows(reader)[SECOND]["state"] == "partial"
    assert file_of(reader, SECOND).read_bytes() == LARGE
    assert reader.ok("verify", SECOND)["ok"]
    with hub_process(reader, "--no-upstream") as url:
        assert ask(url, weights(SECOND)).body == LARGE


def test_content_of_the_hugging_face_cache_is_used(world, tmp_path):
    reader = world.trusting("cache")
    keeper = world.publishers_copy(tmp_path / "keeper")
    with hub_process(keeper, "--no-upstream") as url:
        linked = ask(url, weights(FIRST), method="HEAD").headers["x-linked-etag"].strip('"')
    blob = Path(reader.environment["HF_HUB_CACHE"]) / f"models--{FIRST.replace('/', '--')}" / "blobs" / linked
    blob.parent.mkdir(parents=True)
    blob.write_bytes(LARGE)
    with hub_process(reader, "--no-upstream") as url:
        assert ask(url, weights(SECOND)).body == LARGE
        wait_until(lambda: rows(reader)[SECOND]["state"] == "partial", 30, "the file is in its place, and counts")
    file = file_of(reader, SECOND)
    assert file.read_bytes() == LARGE
    assert not file.samefile(blob)  # others write there


def test_160_content_elsewhere_that_is_not_what_it_should_be_gives_no_wrong_byte(world, tmp_path):
    """It has the size and the name of what is asked for, and a byte of it was changed: that much is brought."""
    reader = world.trusting("spoiled")
    reader.ok("fetch", FIRST, "--peer", world.peer)
    file = file_of(reader, FIRST)
    wrong = bytearray(LARGE)
    wrong[2_000_000] ^= 1
    file.write_bytes(wrong)
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        bodies: list[bytes] = []

        def is_whole() -> bool:
            try:
                bodies.append(ask(url, weights(SECOND)).body)
            except (OSError, http.client.IncompleteRead) as error:
                bodies.append(getattr(error, "partial", b""))
            return bodies[-1] == LARGE

        wait_until(is_whole, SECONDS, "it was brought")
        assert all(LARGE.startswith(one) for one in bodies)
    assert file_of(reader, SECOND).read_bytes() == LARGE
    assert file.read_bytes() == wrong  # nothing was written to it
