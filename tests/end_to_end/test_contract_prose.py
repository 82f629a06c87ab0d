"""What the contract says in words: mirrors that are remembered, updates, who listens, and the environment."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.mirror_server import MirrorServer, gives, hangs, mirror
from tests.support.models import small_model, write_folder
from tests.support.nodes import QUIET, seeding
from tests.support.preserved import Preserver
from tests.support.processes import Process, p2pqwen, running
from tests.support.sockets import Address, connected, listening
from tests.support.waiting import wait_until
from tests.support.world import REPO, World

Words = tuple[str | Path, ...]

# Mirrors and updates


@dataclass(slots=True)
class Published:
    """Two versions of an index."""

    keeper: Preserver
    first: bytes
    second: bytes


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Published:
    keeper = Preserver(tmp_path_factory.mktemp("published"))
    keeper.preserve(small_model(50_000))
    first = (keeper.site / "index.json").read_bytes()
    keeper.user.ok("publish", "--out", keeper.site, "--no-check", "--no-dht")
    return Published(keeper, first, (keeper.site / "index.json").read_bytes())


@pytest.mark.parametrize("kind", ["file", "folder", "URL"])
def test_trust_add_remembers_where_the_index_is(published, tmp_path, kind):
    place = tmp_path / "site"
    place.mkdir()
    index = place / "index.json"
    index.write_bytes(published.first)
    follower = CommandLine(tmp_path)
    with mirror() as server:
        named = {"file": index, "folder": place, "URL": f"{server.url}/keep/"}[kind]
        server.answers["/keep/index.json"] = gives(published.first)
        added = follower.ok("trust", "add", published.keeper.publisher, "--index", named, "--no-dht")
        assert (added["version"], added["sources"]) == (1, [str(named)])
        index.write_bytes(published.second)
        server.answers["/keep/index.json"] = gives(published.second)
        updated = follower.ok("index", "update", "--no-dht")
    assert (updated["ok"], updated["version"], updated["changed"]) == (True, 2, True)


VALID, REFUSED, GONE = "valid", "refused", "gone"


@pytest.mark.parametrize(
    ("sources", "code"),
    [
        ([VALID], 0),
        ([VALID, REFUSED, GONE], 0),
        ([GONE, VALID], 0),
        ([REFUSED], 3),
        ([REFUSED, GONE], 3),
        ([GONE], 5),
        ([GONE, GONE], 5),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes_of_index_update(published, tmp_path, sources, code):
    follower = CommandLine(tmp_path)
    places = [tmp_path / f"{number}.json" for number in range(len(sources))]
    for place in places:
        place.write_bytes(published.second)
        follower.ok("trust", "add", published.keeper.publisher, "--index", place, "--no-dht")
    for place, kind in zip(places, sources, strict=True):
        if kind == REFUSED:
            place.write_bytes(published.second.replace(b"apache-2.0", b"mit"))
        elif kind == GONE:
            place.unlink()
    ended = follower.run("index", "update", "--no-dht", "--json")
    assert ended.code == code, ended
    assert (ended.json["ok"], ended.json["version"]) == (code == 0, 2)
    assert ("error: " in ended.stderr) == (code != 0)
    assert [one["repo"] for one in follower.ok("search")["results"]] == [REPO]  # the trusted copy stays in use


def test_index_verify_without_a_publisher_says_that_none_was_pinned(world):
    checked = world.reader.ok("index", "verify", world.index)
    assert (checked["ok"], checked["pinned"]) == (True, False)
    assert "no publisher was pinned" in world.reader.run("index", "verify", world.index).stdout
    pinned = world.reader.ok("index", "verify", world.index, "--publisher", world.identity)
    assert pinned["pinned"] is True


def test_what_is_unproven_is_called_so_by_every_command(tmp_path):
    keeper = Preserver(tmp_path)
    torrent = keeper.preserve(small_model(50_000))
    commit = torrent.stem
    follower = keeper.trusted_by("follower")
    held = keeper.user.home / "library" / REPO / commit
    with seeding(keeper.user) as (_, port):
        follower.ok("fetch", REPO, "--peer", f"127.0.0.1:{port}", *QUIET, "--no-web-seeds")
    calls = [
        (keeper.user, "preserve", "--from", tmp_path / "sources" / commit, "--repo", REPO, "--commit", commit),
        (keeper.user, "torrent", "show", torrent),
        (keeper.user, "verify", held),
        (keeper.user, "search"),
        (follower, "fetch", REPO),
        (follower, "verify", REPO),
        (follower, "search", "tiny"),
        (follower, "index", "show", keeper.site),
    ]
    keeper.user.ok("trust", "add", keeper.publisher, "--index", keeper.site)
    silent = [words for user, *words in calls if "unproven" not in user.run(*words).stdout.lower()]
    assert silent == []
    assert [words for user, *words in calls if '"unproven"' not in user.run(*words, "--json").stdout] == []


def test_a_target_may_be_the_address_of_a_torrent(world, tmp_path):
    user = CommandLine(tmp_path, world.hub.endpoint)
    with mirror() as server:
        server.answers["/a.torrent"] = gives(world.torrent.read_bytes())
        fetched = user.ok("fetch", f"{server.url}/a.torrent", "--peer", world.peer, *QUIET, "--no-web-seeds")
    assert (fetched["repo"], fetched["commit"]) == (REPO, world.commit)
    assert (fetched["verified"], fetched["provenance"]) == (True, "proven")
    assert fetched["bytes_from_peers"] >= fetched["size"]
    assert fetched["bytes_from_web_seeds"] == 0


# Who listens


def network_on(user: CommandLine) -> CommandLine:
    """Everything as it is by default, but nothing asked of the networks around this machine."""
    user.home.mkdir(parents=True, exist_ok=True)
    (user.home / "config.toml").write_text("[network]\nlsd = false\nupnp = false\n")
    return user


def seen_listening(process: Process, port: int) -> set[Address]:
    """Where it accepts connections from its start until it has talked with this port, and after."""
    seen: set[Address] = set()

    def talks() -> bool:
        seen.update(listening(process.pid))
        return any(one.port == port for one in connected(process.pid))

    wait_until(talks, 60, f"{process} to talk with port {port}; {process.stderr}")
    return seen | listening(process.pid)


def fetches(world: World, folder: Path, hub: HubSimulator, server: MirrorServer) -> tuple[Words, int]:
    options = ("--no-web-seeds", "--download-limit", "50kB/s")
    return ("fetch", REPO, "--peer", world.peer, *options), int(world.peer.rpartition(":")[2])


def preserves(world: World, folder: Path, hub: HubSimulator, server: MirrorServer) -> tuple[Words, int]:
    hub.add(REPO, write_folder(folder / "model", small_model(100_000)))
    hub.fault("hang", "model.safetensors", on=("cdn",))
    return ("preserve", REPO), int(hub.cdn.rpartition(":")[2])


def updates(world: World, folder: Path, hub: HubSimulator, server: MirrorServer) -> tuple[Words, int]:
    server.answers["/index.json"] = hangs
    return ("index", "update"), server.server_address[1]


def outside(found: set[Address]) -> set[Address]:
    return {one for one in found if not one.is_loopback}


@pytest.mark.parametrize("prepare", [fetches, preserves, updates])
def test_no_command_listens_beyond_loopback_unless_it_seeds(world, tmp_path, prepare):
    user = network_on(CommandLine(tmp_path))
    with HubSimulator() as hub, mirror() as server:
        server.answers["/index.json"] = gives(world.index.read_bytes())
        user.ok("trust", "add", world.identity, "--index", server.url, "--no-dht")
        user.environment["HF_ENDPOINT"] = hub.endpoint
        words, port = prepare(world, tmp_path, hub, server)
        with running(p2pqwen(*words), user.environment) as process:
            seen = outside(seen_listening(process, port))
            if prepare is fetches:
                # libtorrent opens a session's TCP sockets listening, and they are shut as soon as it has told of them.
                wait_until(lambda: not outside(listening(process.pid)), 20, f"the end of {seen}")
                looks = iter(range(20))
                wait_until(lambda: outside(listening(process.pid)) or next(looks, None) is None, 20, "twenty looks")
                seen = outside(listening(process.pid))
    assert seen == set()


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_seed_prints_the_port_it_took_one_event_a_line_and_listens_there(world, tmp_path, host, loopback):
    user = world.publishers_copy(tmp_path)
    with running(p2pqwen("seed", "--listen", f"{host}:0", "--json", *QUIET), user.environment) as node:
        port = node.json_line(60, containing='"listening"')["port"]
        found = {one.is_loopback for one in listening(node.pid) if one.port == port}
        with socket.create_connection(("127.0.0.1", port), timeout=20):
            pass
        node.line(60, containing='"seeding"')
        assert node.stop() == 0
    assert all(found) is loopback  # a socket for each address of the machine, where it is 0.0.0.0
    events = [json.loads(line)["event"] for line in node.lines]
    assert {"listening", "seeding", "stopped"} <= set(events)


# The environment


def test_hf_endpoint_token_and_cache_keep_their_meaning(tmp_path):
    with HubSimulator(tokens=["hf_known"]) as hub:
        commit = str(hub.add(REPO, write_folder(tmp_path / "model", small_model(50_000))))
        hub.repository(REPO).private = True
        user = CommandLine(tmp_path, hub.endpoint)
        cache = tmp_path / "cache"
        assert user.run("preserve", REPO, "--allow-gated").code == 4
        done = user.ok("preserve", REPO, "--allow-gated", HF_TOKEN="hf_known", HF_HUB_CACHE=str(cache))
        assert done["commit"] == commit
        assert hub.count(kind="cdn") > 0
    snapshot = cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / commit
    fetched = user.ok("fetch", done["torrent"], "--no-web-seeds", HF_HUB_CACHE=str(cache))
    assert Path(fetched["hf_cache"]) == snapshot
    assert (snapshot / "model.safetensors").read_bytes() == small_model(50_000)["model.safetensors"]
    assert "hf_known" not in "".join(
        path.read_text(errors="replace") for path in user.home.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("named", [True, False], ids=["P2PQWEN_HOME", "platformdirs"])
def test_where_things_live(world, tmp_path, named):
    data = tmp_path / "data"
    home = tmp_path / "chosen" if named else data / "p2pqwen"
    places = {"XDG_DATA_HOME": str(data), "HOME": str(tmp_path / "user"), "P2PQWEN_HOME": str(home) if named else ""}
    user = CommandLine(tmp_path, world.hub.endpoint)
    user.environment |= places
    done = user.ok("preserve", REPO)
    identity = user.ok("keys", "init", "--name", "Me", "--no-passphrase")["publisher"]
    user.ok("publish", "--out", tmp_path / "site", "--no-check", "--no-dht")
    user.ok("trust", "add", identity, "--index", tmp_path / "site", "--no-dht")
    top = home / "library" / REPO
    assert Path(done["torrent"]) == top / f"{done['commit']}.torrent"
    assert (top / done["commit"] / "model" / "notes.txt").is_file()
    assert (home / "keys").is_dir()
    assert (home / "trust" / identity).is_dir()
    assert (home / "state.sqlite").is_file()
    assert data.exists() is not named
    assert list((tmp_path / "user").rglob("*")) == []
