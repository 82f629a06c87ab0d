"""Many readers of the Hub's place at once: nobody is starved, memory stays flat, and what is cut off leaves nothing."""

from __future__ import annotations

import hashlib
import http.client
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from p2pqwen.library.home import Home
from tests.support.command import CommandLine
from tests.support.hub_endpoint import ask
from tests.support.hub_load import begin, descriptors, memory, read_at_once
from tests.support.models import noise
from tests.support.nodes import quiet_config
from tests.support.processes import p2pqwen, running
from tests.support.snapshots import hold
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until

SIZE = 200_000_000
SMALL = 1000
READERS = 64
MEMORY = 120_000_000
SECONDS = 240
REPO = "Qwen/Large"
LARGE = f"/{REPO}/resolve/main/model.safetensors"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node with a large file and a thousand small ones, its endpoint's URL, the file's SHA-256 and the torrent."""
    folder = tmp_path_factory.mktemp("load")
    block = noise(1_000_000, "large")
    files = {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "model.safetensors": block * (SIZE // len(block)),
        **{f"small/{number:04}.json": b"%d" % number for number in range(SMALL)},
    }
    user = CommandLine(folder)
    quiet_config(user, '[hub_endpoint]\nlisten = "127.0.0.1:0"\nupstream = "never"\n')
    # Held, not preserved: what is measured is the endpoint, and a simulated Hub would send a thousand files first.
    held = hold(Home(user.home), files, REPO, lfs={"model.safetensors"})
    main = user.cache / f"models--{REPO.replace('/', '--')}" / "refs" / "main"
    main.parent.mkdir(parents=True)
    main.write_text(str(held.id.commit))
    command = p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)
    with running(command, user.environment) as process:
        url = process.json_line(60, containing='"hub"')["url"]
        process.line(60, containing='"seeding"')
        yield process, url, hashlib.sha256(files["model.safetensors"]).hexdigest(), held.torrent_path


def read_all(url: str) -> str:
    """Read the large file without keeping it; its SHA-256."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", LARGE)
        response = connection.getresponse()
        digest = hashlib.sha256()
        buffer = bytearray(1 << 20)
        while count := response.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
        return digest.hexdigest()
    finally:
        connection.close()


def test_many_readers_of_large_and_small_files(node):
    process, url, expected, _ = node
    assert read_all(url) == expected
    before = memory(process)
    lazy = [_begun(url) for _ in range(16)]  # who takes what fits into the socket, and no more
    with ThreadPoolExecutor(READERS) as pool:
        large = [pool.submit(read_all, url) for _ in range(8)]
        small = [
            pool.submit(lambda number=number: ask(url, f"/{REPO}/resolve/main/small/{number:04}.json").body)
            for number in range(SMALL)
        ]
        assert [one.result(SECONDS) for one in small] == [b"%d" % number for number in range(SMALL)]
        assert {one.result(SECONDS) for one in large} == {expected}
    assert memory(process) - before < MEMORY
    for connection in lazy:
        connection.close()
    assert process.exit_code is None


def test_sixty_four_readers_share_and_the_node_goes_on_seeding(node, tmp_path_factory):
    """Each reads another part of the file, others take nothing and hang on, and a peer fetches from the node."""
    process, url, _, torrent = node
    port = process.json_line(SECONDS, containing='"listening"')["port"]
    peer = CommandLine(tmp_path_factory.mktemp("peer"), url)
    quiet_config(peer)
    each, before = SIZE // READERS, memory(process)
    lazy = [begin(url, LARGE, range(SIZE)) for _ in range(16)]
    with ThreadPoolExecutor(1) as pool:
        fetch = ("fetch", torrent, "--include", "small/000*", "--peer", f"127.0.0.1:{port}", "--no-hf-cache")
        fetched = pool.submit(peer.ok, *fetch)
        shares = read_at_once(url, LARGE, [range(at * each, (at + 1) * each) for at in range(READERS)], SECONDS)
        assert fetched.result(SECONDS)["provenance"] == "proven"
    assert min(shares) > max(shares) / 10, shares  # nobody is kept waiting until the others are done
    assert memory(process) - before < MEMORY
    for one in lazy:
        one.sock.close()


def test_a_storm_of_heads_and_readers_that_go_away_leave_nothing_behind(node):
    process, url, _, _ = node
    ask(url, LARGE, method="HEAD")
    before = descriptors(process)
    parts = urlsplit(url)

    def storm(_: int) -> set[int]:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
        seen = set()
        for _ in range(100):
            connection.request("HEAD", LARGE)
            response = connection.getresponse()
            response.read()
            seen.add(response.status)
        connection.close()
        return seen

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(storm, range(20))) == {200}
        list(pool.map(lambda _: _begun(url).close(), range(100)))
    wait_until(lambda: descriptors(process) <= before + 2, SECONDS, "every file and connection is closed")
    assert read_all(url)


def _begun(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    connection.request("GET", LARGE)
    assert connection.getresponse().read(10)
    return connection
