"""No host at all: a publisher's index and model by publisher id and DHT alone, when they and every host are gone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from p2pqwen.app import App
from p2pqwen.assembly import serving
from p2pqwen.config.load import load
from p2pqwen.library.home import Home
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.operations.indexes.pointer import all_pointers
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.network_choices import NetworkChoices
from tests.simulators.dht_node import LIFETIME, Clock, simulated_dht
from tests.support.command import CommandLine
from tests.support.dht import libtorrent_dht
from tests.support.models import small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

REPO = "Qwen/Tiny"
COMMIT = "c0ffee" * 6 + "c0de"
FILES = small_model(700_000)
SIZE = sum(map(len, FILES.values()))
DHT_ALONE = ("--no-lsd", "--no-upnp", "--no-trackers")
HERE = ("--peer", "127.0.0.1:9")
"""Nobody listens there; but who names this machine may be led to peers on it."""


class People:
    """Users whose only way into the world is a DHT of libtorrent nodes on loopback."""

    def __init__(self, folder, nodes):
        self.folder, self.nodes = folder, nodes

    def user(self, name):
        return CommandLine(self.folder / name, P2PQWEN_DHT_BOOTSTRAP=str(self.nodes[0].endpoint))

    @contextlib.contextmanager
    def node(self, user, host, *, announced=()):
        """A user's `p2pqwen seed` at an address in a network of its own, once others can find what it seeds."""
        arguments = p2pqwen("seed", "--listen", f"{host}:0", *DHT_ALONE, "--json")
        with running(arguments, user.environment) as process:
            process.line(90, containing='"event": "pointer"')
            for infohash in announced:
                wait_until(lambda one=infohash: host in self.peers(one), 90, f"{host} announces {infohash}")
            listening = process.json_line(30, containing='"listening"')
            yield process, f"{listening['host']}:{listening['port']}"

    def peers(self, infohash):
        """The hosts that the DHT names for a torrent."""

        async def ask():
            async with Dht([self.nodes[-1].endpoint]) as dht:
                return await dht.get_peers(Sha1.parse(infohash))

        return [one.host for one in asyncio.run(ask())]


@pytest.fixture
def people(tmp_path):
    with libtorrent_dht(6) as nodes:
        yield People(tmp_path, nodes)


@pytest.fixture
def publisher(people):
    user = people.user("publisher")
    write_folder(people.folder / "model", FILES)
    user.ok("preserve", "--from", people.folder / "model", "--repo", REPO, "--commit", COMMIT)
    user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")
    return user


def test_a_newcomer_with_an_id_gets_index_and_model_when_the_publisher_is_gone(people, publisher):
    published = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    assert published["dht_nodes"] >= 6
    identity = published["publisher"]
    follower = people.user("follower")
    bundle = published["bundle"]
    with people.node(publisher, "127.0.20.1", announced=[bundle]) as (_, peer):
        added = follower.ok("trust", "add", identity, *HERE)
        assert (added["version"], added["entries"]) == (1, 1)
        wait_until(lambda: publisher.ok("limits")["uploaded_this_month"] > 0, 30, "the bundle to be counted")
        # A session that accepts nobody does no DHT on loopback (libtorrent), so the model's peer is named here.
        done = follower.ok("fetch", REPO, "--peer", peer, *DHT_ALONE)
        assert (done["torrent_by"], done["bytes_from_peers"]) == ("the bundle of Keepers, from peers", SIZE)
        assert [one["state"] for one in done["signers"]] == ["valid"]
    with people.node(follower, "127.0.21.1", announced=[bundle]) as (_, peer):
        newcomer = people.user("newcomer")
        assert newcomer.ok("trust", "add", identity, *HERE)["version"] == 1
        done = newcomer.ok("fetch", REPO, *HERE, "--no-dht", *DHT_ALONE)  # who gave the bundle is asked for the model
        assert (done["torrent_by"], done["bytes_from_peers"]) == ("the bundle of Keepers, from peers", SIZE)
        assert (done["verified"], done["provenance"]) == (True, "unproven")
        assert Path(done["path"], "model.safetensors").read_bytes() == FILES["model.safetensors"]
        assert list(newcomer.home.glob("bundles/*/*"))
        newcomer.ok("trust", "remove", identity)
        assert not list(newcomer.home.glob("bundles/*"))
        by_link = people.user("by link")
        assert by_link.ok("trust", "add", published["link"], *HERE)["publisher"] == identity


def test_a_followers_node_takes_up_the_next_index_by_itself(people, publisher):
    first = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    follower = people.user("follower")
    follower.ok("trust", "add", first["publisher"], "--index", people.folder / "site", "--no-dht")
    shutil.copytree(publisher.home / "bundles", follower.home / "bundles")
    second = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    publisher.ok("trust", "add", first["publisher"], "--index", people.folder / "site", "--no-dht")
    publisher.ok("trust", "remove", first["publisher"])  # its own bundles stay
    shutil.rmtree(people.folder / "site")  # the place where the follower found the first
    with people.node(publisher, "127.0.20.1", announced=[second["bundle"]]):
        arguments = p2pqwen("seed", "--listen", "127.0.21.1:0", *DHT_ALONE, "--json")
        with running(arguments, follower.environment) as following:
            following.line(90, containing='"event": "index"')
            following.line(90, containing=f'"infohash_v1": "{second["bundle"]}", "files": 2')
    folder = next((follower.home / "bundles").glob(f"*/{second['bundle']}/*"))
    before = next((follower.home / "bundles").glob(f"*/{first['bundle']}/*"))
    torrent = Path("Qwen", "Tiny", f"{COMMIT}.torrent")
    assert (folder / torrent).samefile(before / torrent)  # linked, not fetched again


def test_a_follower_with_an_older_index_fetches_what_changed(people, publisher):
    for number in range(4):
        commit = f"{number}{COMMIT[1:]}"
        publisher.ok("preserve", "--from", people.folder / "model", "--repo", REPO, "--commit", commit)
    first = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    follower = people.user("follower")
    follower.ok("trust", "add", first["publisher"], "--index", people.folder / "site", "--no-dht")
    publisher.ok("preserve", "--from", people.folder / "model", "--repo", REPO, "--commit", f"4{COMMIT[1:]}")
    second = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    (delta,) = (people.folder / "site" / "delta").iterdir()
    shutil.rmtree(people.folder / "site")  # the place where the follower found the first
    with people.node(publisher, "127.0.20.1", announced=[second["bundle"]]):
        (updated,) = follower.ok("index", "update", *HERE)["publishers"]
        assert (updated["version"], updated["changed"]) == (2, True)
        assert len(follower.ok("search", "tiny")["results"]) == 6
        here = [path.name for path in follower.home.glob(f"bundles/*/{second['bundle']}/**/*") if path.is_file()]
        assert here == [delta.name]


def test_a_followers_node_keeps_the_pointer_alive_when_the_publisher_is_gone(tmp_path):
    clock = Clock()
    with simulated_dht(5, clock=clock) as nodes:
        people = People(tmp_path, nodes)
        publisher, follower = people.user("publisher"), people.user("follower")
        write_folder(tmp_path / "model", FILES)
        publisher.ok("preserve", "--from", tmp_path / "model", "--repo", REPO, "--commit", COMMIT)
        publisher.ok("keys", "init", "--name", "Keepers", "--no-passphrase")
        published = publisher.ok("publish", "--out", tmp_path / "site", "--yes")
        assert published["dht_nodes"] == 5
        follower.ok("trust", "add", published["publisher"], "--index", tmp_path / "site", "--no-dht")
        shutil.copytree(publisher.home / "bundles", follower.home / "bundles")
        events = []
        app = App(load(follower.environment))
        sync = serving.seeded_publishers(
            app, SwarmSettings(choices=NetworkChoices(lsd=False, upnp=False, trackers=False)), events.append
        ).sync
        for hour in range(1, 6):  # the publisher is never heard of again
            clock.now = hour * 3600.0
            assert sync.look_after_all(), events
        assert clock.now > 2 * LIFETIME
        assert not (follower.home / "keys").exists()  # it has none of the publisher's
        newcomer = people.user("newcomer")
        store = PointerStore(Home(newcomer.home))

        async def find():
            async with Dht([nodes[0].endpoint]) as dht:
                return await all_pointers(dht, Sha256.parse(published["publisher"]), store)

        (found,) = asyncio.run(find())
        assert str(found.pointer.infohash_v1) == published["bundle"]
