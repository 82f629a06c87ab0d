"""Many readers of the Hub's place at once: nobody is starved, memory stays flat, and what is cut off leaves nothing."""

from __future__ import annotations

import hashlib
import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.hub_endpoint import ask
from tests.support.models import noise, write_folder
from tests.support.nodes import quiet_config
from tests.support.processes import Process, p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.world import World

SIZE = 200_000_000
SMALL = 1000
READERS = 64
MEMORY = 120_000_000
SECONDS = 240
REPO = "Qwen/Large"
LARGE = f"/{REPO}/resolve/main/model.safetensors"

pytestmark = pytest.mark.slow


def resident(process: Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def descriptors(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node with a large file and a thousand small ones, and its endpoint's URL."""
    folder = tmp_path_factory.mktemp("load")
    block = noise(1_000_000, "large")
    files = {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "model.safetensors": block * (SIZE // len(block)),
        **{f"small/{number:04}.json": b"%d" % number for number in range(SMALL)},
    }
    with HubSimulator() as hub:
        world = World(folder, hub)
        hub.add(REPO, write_folder(folder / "large", files))
        user = world.user("node")
        quiet_config(user, '[hub_endpoint]\nlisten = "127.0.0.1:0"\nupstream = "never"\n')
        user.ok("preserve", REPO)
        command = p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)
        with running(command, user.environment) as process:
            url = process.json_line(60, containing='"hub"')["url"]
            process.line(60, containing='"seeding"')
            yield process, url, hashlib.sha256(files["model.safetensors"]).hexdigest()


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
    process, url, expected = node
    assert read_all(url) == expected
    before = resident(process)
    lazy = [_begun(url) for _ in range(16)]  # who takes what fits into the socket, and no more
    with ThreadPoolExecutor(READERS) as pool:
        large = [pool.submit(read_all, url) for _ in range(8)]
        small = [
            pool.submit(lambda number=number: ask(url, f"/{REPO}/resolve/main/small/{number:04}.json").body)
            for number in range(SMALL)
        ]
        assert [one.result(SECONDS) for one in small] == [b"%d" % number for number in range(SMALL)]
        assert {one.result(SECONDS) for one in large} == {expected}
    assert resident(process) - before < MEMORY
    for connection in lazy:
        connection.close()
    assert process.exit_code is None


def test_a_storm_of_heads_and_readers_that_go_away_leave_nothing_behind(node):
    process, url, _ = node
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
