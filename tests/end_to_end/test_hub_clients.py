"""Real clients on the Hub's place, in a network namespace where nothing else can answer them.

Each with the model in the library, only at a peer, and absent: then the client says its own "not found", no later than
it would have had the model. What they ask is recorded and stands in `tests.support.hub_clients`.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.alone import Within, alone, run_within, way_out
from tests.support.command import CommandLine
from tests.support.hub_clients import (
    ABSENT,
    ASKED,
    CLIENTS,
    SECONDS,
    Client,
    Installed,
    write_repositories,
)
from tests.support.hub_endpoint import hub_process
from tests.support.processes import p2pqwen, running
from tests.support.recorder import recording
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.world import REPO, World
from tests.support.zygote import LIBRARIES, Zygote

ANSWER_SECONDS = 3.0
TRIES = 3
KNOCK = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'?', ('203.0.113.1', 9))"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """Endpoints in the namespace: with the models in the library, and without them but with a peer that has them.

    `unserved` has the models and no endpoint. Of each client that got its model from the library: `took`, in how many
    seconds, and `asked`, what for.
    """

    within: Within
    zygote: Zygote
    unserved: CommandLine
    sources: Mapping[str, Path]
    urls: Mapping[str, str]
    took: dict[str, float]
    asked: dict[str, set[str]]

    def source(self, client: Client) -> Path:
        return next(folder for name, folder in self.sources.items() if name.removeprefix("datasets/") == client.repo)


@pytest.fixture(scope="module")
def installed(tmp_path_factory, worker_id) -> Installed:
    """Shared by all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return Installed((base if worker_id == "master" else base.parent) / "hub-clients")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    sources = write_repositories(folder / "repositories")
    with alone() as within, HubSimulator() as hub:
        world = World(folder, hub)
        hub.repositories[REPO].branches.clear()
        for name, source in sources.items():
            world.publisher.ok("preserve", f"{name}@{hub.add(name, source)}")
        world.publisher.ok("publish", "--out", world.site, "--yes")
        reader = world.trusting("reader")
        seed = [*within, *p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)]
        keeper, unserved = (world.publishers_copy(folder / name) for name in ("copy", "unserved"))
        with ExitStack() as stack:
            node = stack.enter_context(running(seed, world.publisher.environment))
            port = node.json_line(60, containing='"listening"')["port"]
            wait_until(lambda: node.stdout.count('"event": "seeding"') > len(sources), 60, "all snapshots seeded")
            library = stack.enter_context(hub_process(keeper, "--no-upstream", within=within))
            peer = ("--peer", f"127.0.0.1:{port}")
            swarm = stack.enter_context(hub_process(reader, "--no-upstream", *peer, within=within))
            zygote = stack.enter_context(Zygote(LIBRARIES, within))
            yield Place(within, zygote, unserved, sources, {"library": library, "swarm": swarm}, {}, {})


def gets(place: Place, installed: Installed, name: str, where: str, out: Path) -> None:
    """Have a client get its model, which it must."""
    client = CLIENTS[name]
    with ExitStack() as stack:
        url, asked = place.urls[where], None
        if where == "library" and name in ASKED:
            url, asked = stack.enter_context(recording(url, place.within))
        started = time.monotonic()
        done = client.run(url, out, installed, place.within, zygote=place.zygote)
        took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    for file, got in client.gives.items():
        assert (out / got).read_bytes() == (place.source(client) / file).read_bytes()
    place.took.setdefault(name, took)
    if asked is not None:
        place.asked.setdefault(name, asked)


# By client (`scope`), since what is seen of one that gets its model from the library is what all others need of it.


@pytest.mark.parametrize("name", CLIENTS, scope="module")
@pytest.mark.parametrize("where", ["library", "swarm"])
def test_a_client_gets_the_model(place, installed, tmp_path, name, where):
    gets(place, installed, name, where, tmp_path / "out")


@pytest.mark.parametrize("name", CLIENTS, scope="module")
def test_a_client_says_itself_that_a_model_is_not_there(place, installed, tmp_path, name):
    """And soon: what it takes to start, it takes with a model too, which is the measure on a machine that is busy."""
    client = CLIENTS[name]
    if name not in place.took:
        gets(place, installed, name, "library", tmp_path / "first")
    took = []
    while not any(seconds < 3 * place.took[name] + ANSWER_SECONDS for seconds in took):
        assert len(took) < TRIES, took  # other work may hold up one of them
        started = time.monotonic()
        out = tmp_path / f"out-{len(took)}"
        done = client.run(place.urls["library"], out, installed, place.within, repo=ABSENT, zygote=place.zygote)
        took.append(time.monotonic() - started)
        assert done.returncode != 0
        assert re.search(client.absent, done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize("name", ASKED, scope="module")
def test_what_a_client_asks(place, installed, tmp_path, name):
    if name not in place.asked:
        gets(place, installed, name, "library", tmp_path / "first")
    aside = {one for one in place.asked[name] if one.endswith("/api/agent-harnesses")}  # any answer does
    assert place.asked[name] - aside == ASKED[name]


def test_a_first_start_of_transformers_asks_nobody_beyond_this_machine(place, tmp_path):
    """The library has it all, the cache has nothing: `run` sets what it needs, and no packet leaves loopback.

    Not even a failing one: here is a way out, and what takes it is counted.
    """
    CLIENTS["transformers"].require()
    environment = {"P2PQWEN_HOME": str(place.unserved.home), "HF_HOME": str(tmp_path / "hf")}
    command = p2pqwen("run", "--no-upstream", "--", *CLIENTS["transformers"].arguments)
    command = [one.format(repo=REPO) if "{repo}" in one else one for one in command]
    with way_out() as outside:
        done = run_within(outside.within, command, cwd=tmp_path, seconds=SECONDS, **environment)
        assert done.returncode == 0, done.stderr
        assert "HF_ENDPOINT=http://127.0.0.1:" in done.stderr
        assert outside.packets() == 0
        run_within(outside.within, [sys.executable, "-c", KNOCK], cwd=tmp_path, seconds=SECONDS)
        assert outside.packets() > 0  # the measure itself
