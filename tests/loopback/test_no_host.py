"""No host at all: a publisher's index and model by publisher id and DHT alone, when he and every host are gone."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from p2pqwen.swarm.dht import Dht
from p2pqwen.values.digest import Sha1
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

    def user(self, name, refresh=3600):
        user = CommandLine(self.folder / name, P2PQWEN_DHT_BOOTSTRAP=str(self.nodes[0].endpoint))
        user.home.mkdir(parents=True)
        (user.home / "config.toml").write_text(f"[network]\ndht_refresh = {refresh}\n")
        return user

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
        # A session that accepts nobody does no DHT on loopback (libtorrent), so the model's peer is named here.
        done = follower.ok("fetch", REPO, "--peer", peer, *DHT_ALONE)
        assert (done["torrent_by"], done["bytes_from_peers"]) == ("the bundle of Keepers, from peers", SIZE)
        assert [one["state"] for one in done["signers"]] == ["valid"]
    with people.node(follower, "127.0.21.1", announced=[bundle]) as (_, peer):
        newcomer = people.user("newcomer")
        assert newcomer.ok("trust", "add", identity, *HERE)["version"] == 1
        done = newcomer.ok("fetch", REPO, "--peer", peer, *DHT_ALONE)
        assert (done["torrent_by"], done["bytes_from_peers"]) == ("the bundle of Keepers, from peers", SIZE)
        assert (done["verified"], done["provenance"]) == (True, "unproven")
        assert Path(done["path"], "model.safetensors").read_bytes() == FILES["model.safetensors"]
        by_link = people.user("by link")
        assert by_link.ok("trust", "add", published["link"], *HERE)["publisher"] == identity


def test_a_followers_node_takes_up_the_next_index_by_itself(people, publisher):
    first = publisher.ok("publish", "--out", people.folder / "site", "--yes")
    follower = people.user("follower", refresh=5)
    with people.node(publisher, "127.0.20.1", announced=[first["bundle"]]):
        follower.ok("trust", "add", first["publisher"], *HERE)
        with people.node(follower, "127.0.21.1", announced=[first["bundle"]]) as (following, _):
            second = publisher.ok("publish", "--out", people.folder / "site", "--yes")
            following.line(90, containing=second["bundle"])  # the new bundle is seeded
    folder = next((follower.home / "bundles").glob(f"*/{second['bundle']}/*"))
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"index.json", f"{COMMIT}.torrent"}
    before = next((follower.home / "bundles").glob(f"*/{first['bundle']}/*"))
    (torrent,) = folder.rglob("*.torrent")
    assert torrent.samefile(before / torrent.relative_to(folder))  # linked, not fetched again
