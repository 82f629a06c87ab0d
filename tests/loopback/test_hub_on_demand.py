"""The Hub's place where the library has nothing: files come from peers while they are read, and stay."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from huggingface_hub import snapshot_download

from p2pqwen.library.durable import is_locked
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hostile_peers import LIARS, corrupt
from tests.simulators.peer import BLOCK, Behaviour, Content, PeerNetwork, PeerSimulator, Request
from tests.support.hub_endpoint import ask, contents, hub_process
from tests.support.models import small_model
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET, seeding
from tests.support.waiting import wait_until
from tests.support.world import NOBODY, REPO, seeded_world

FILES = small_model(600_000)
WEIGHTS = "model.safetensors"
SECONDS = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        yield found


def resolve(path, revision="main"):
    return f"/{REPO}/resolve/{revision}/{quote(path)}"


@contextmanager
def slow_peer(world, **behaviour) -> Iterator[PeerSimulator]:
    """A peer of our own making that has everything, and counts what it is asked for."""
    with PeerNetwork() as network:
        content = Content.of(parse_metainfo(world.torrent.read_bytes()), FILES)
        yield network.peer(content, Behaviour(**behaviour))


@contextmanager
def opened(url, path, **headers) -> Iterator[http.client.HTTPResponse]:
    """A response that is read by the test, and cut off with the block."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        yield connection.getresponse()
    finally:
        connection.close()


def impatient(user):
    """Wait for a reader's bytes no longer than a few seconds."""
    with (user.home / "config.toml").open("a") as config:
        config.write('[hub_endpoint]\ntimeout = "5s"\n')


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
    with hub_process(reader, "--no-upstream") as url:  # what is held needs no other source
        assert ask(url, resolve(WEIGHTS)).body == FILES[WEIGHTS]


def test_no_file_stays_open_once_it_was_read(world):
    reader = world.trusting("closed")
    command = p2pqwen("hub", "--listen", "127.0.0.1:0", "--json", *QUIET, "--no-upstream", "--peer", world.peer)
    with running(command, reader.environment) as process:
        url = process.json_line(SECONDS, containing='"hub"')["url"]
        for name in FILES:
            assert ask(url, resolve(name)).body == FILES[name]
        wait_until(lambda: not open_below(process.pid, reader.home / "library"), SECONDS, "every file is closed")


def open_below(pid: int, folder: Path) -> list[Path]:
    """What a process has open below a folder."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            found.append(one.readlink())
    return [one for one in found if one.is_relative_to(folder) and not one.is_dir()]


def test_the_hubs_own_client_gets_it_all_and_it_is_whole_then(world, tmp_path):
    reader = world.trusting("whole")
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        folder = Path(snapshot_download(REPO, endpoint=url, cache_dir=tmp_path, token=False))
        assert contents(folder) == FILES
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


def first_piece_of(world) -> int:
    metainfo = parse_metainfo(world.torrent.read_bytes())
    index = [file.path.text for file in metainfo.files].index(WEIGHTS)
    return metainfo.layout.pieces(index).start


def test_bytes_leave_while_the_rest_is_on_its_way_and_readers_share_them(world):
    reader, first = world.trusting("shared"), first_piece_of(world)
    blocks, let_go = len(FILES[WEIGHTS]) // BLOCK, threading.Event()
    with (
        slow_peer(world, held=lambda request: request.piece != first and not let_go.is_set()) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
        opened(url, resolve(WEIGHTS)) as response,
        ThreadPoolExecutor(4) as pool,
    ):
        assert response.read(1000) == FILES[WEIGHTS][:1000]  # and the other pieces are nowhere yet
        bodies = [pool.submit(lambda: ask(url, resolve(WEIGHTS)).body) for _ in range(4)]
        let_go.set()
        assert all(one.result() == FILES[WEIGHTS] for one in bodies)
        assert response.read() == FILES[WEIGHTS][1000:]
        assert peer.seen.blocks < 2 * blocks  # five readers, one download


def test_a_range_in_the_middle_begins_there(world):
    reader, middle = world.trusting("range"), 300_000
    metainfo = parse_metainfo(world.torrent.read_bytes())
    only = first_piece_of(world) + middle // metainfo.piece_length
    with (
        slow_peer(world, held=lambda request: request.piece != only) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
    ):
        answer = ask(url, resolve(WEIGHTS), Range=f"bytes={middle}-{middle + 99}")
        assert (answer.status, answer.body) == (206, FILES[WEIGHTS][middle : middle + 100])


def test_who_reads_small_files_in_order_finds_the_next_one_here(world):
    """With three of them read nobody knows; with the fourth the next is asked for, and kept once it was read."""
    reader, asked = world.trusting("ahead"), set()
    *small, last = (name for name, content in FILES.items() if content and name != WEIGHTS)
    metainfo = parse_metainfo(world.torrent.read_bytes())
    index = [file.path.text for file in metainfo.files].index(last)
    [piece] = metainfo.layout.pieces(index)
    with (
        slow_peer(world, held=lambda request: bool(asked.add(request.piece))) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
    ):
        for name in small[:3]:
            assert ask(url, resolve(name)).body == FILES[name]
        assert ask(url, resolve(WEIGHTS)).body == FILES[WEIGHTS]
        assert piece not in asked
        assert ask(url, resolve(small[3])).body == FILES[small[3]]
        wait_until(lambda: piece in asked, SECONDS, "the next one is asked for")
    assert [row["state"] for row in held(reader)] == ["partial"]
    assert reader.ok("verify", REPO)["ok"]
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        assert ask(url, resolve(last)).body == FILES[last]
    assert reader.ok("verify", REPO)["ok"]


@pytest.mark.parametrize("name", ["corrupt", "corrupt one block in four, v2"])
def test_139_a_peer_that_lies_gives_no_byte(world, name):
    reader = world.trusting(f"lied-to-{len(name)}")
    impatient(reader)
    with PeerNetwork() as network:
        content = Content.of(parse_metainfo(world.torrent.read_bytes()), FILES)
        liar = network.peer(content, LIARS[name])
        with hub_process(reader, "--no-upstream", "--peer", str(liar.endpoint)) as url:
            assert ask(url, resolve(WEIGHTS)).status == 504


def test_140_what_stops_to_come_ends_the_connection_and_never_with_a_wrong_byte(world):
    reader = world.trusting("cut")
    impatient(reader)
    first = first_piece_of(world)

    def then_lies(request: Request, block: bytes) -> bytes:
        return block if request.piece == first else corrupt(request, block)

    with (
        slow_peer(world, answer=then_lies) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
        opened(url, resolve(WEIGHTS)) as response,
    ):
        assert (response.status, int(response.headers["Content-Length"])) == (200, len(FILES[WEIGHTS]))
        got = bytearray()
        with suppress(ConnectionError, http.client.IncompleteRead):
            while block := response.read(1000):
                got += block
        assert len(got) < len(FILES[WEIGHTS])
        assert FILES[WEIGHTS].startswith(got)
    assert [row["state"] for row in held(reader)] in ([], ["incomplete"])


def test_nobody_has_it(world):
    reader = world.trusting("nobody")
    impatient(reader)
    for options in ((), ("--peer", NOBODY)):
        with hub_process(reader, "--no-upstream", *options) as url:
            assert ask(url, resolve(WEIGHTS), method="HEAD").status == 200  # it is listed
            answer = ask(url, resolve(WEIGHTS))
            assert answer.status == 504
            assert "error" in answer.json


def test_no_room_is_said_before_the_first_byte(world):
    reader = world.trusting("full")
    with (reader.home / "config.toml").open("a") as config:
        config.write('[library]\nreserve = "9000TB"\n')
    with hub_process(reader, "--no-upstream", "--peer", world.peer) as url:
        answer = ask(url, resolve(WEIGHTS))
        assert answer.status == 507
        assert "room" in answer.json["error"]


def test_a_reader_that_goes_away_leaves_a_download_that_goes_on(world):
    reader, first = world.trusting("finish"), first_piece_of(world)
    blocks, let_go = len(FILES[WEIGHTS]) // BLOCK, threading.Event()
    with (
        slow_peer(world, held=lambda request: request.piece != first and not let_go.is_set()) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
    ):
        with opened(url, resolve(WEIGHTS)) as response:
            assert response.read(10) == FILES[WEIGHTS][:10]
        let_go.set()
        wait_until(lambda: peer.seen.blocks > blocks, SECONDS, "the rest arrives")
        with opened(url, resolve(WEIGHTS)) as response:  # what was sent last may still be on its way
            assert response.read() == FILES[WEIGHTS]
    assert [row["state"] for row in held(reader)] == ["partial"]


def test_one_that_stops_when_its_reader_goes_away(world):
    reader, first = world.trusting("stop"), first_piece_of(world)
    with (reader.home / "config.toml").open("a") as config:
        config.write('[hub_endpoint]\nabandoned = "stop"\n')
    lock = reader.home / "locks" / f"{REPO.replace('/', '--')}@{world.commit}.lock"
    with (
        slow_peer(world, held=lambda request: request.piece != first) as peer,
        hub_process(reader, "--no-upstream", "--peer", str(peer.endpoint)) as url,
    ):
        with opened(url, resolve(WEIGHTS)) as response:
            assert response.read(10) == FILES[WEIGHTS][:10]
            assert is_locked(lock)
        wait_until(lambda: not is_locked(lock), SECONDS, "the download ends, with two pieces missing")
    assert [row["state"] for row in held(reader)] == ["incomplete"]
