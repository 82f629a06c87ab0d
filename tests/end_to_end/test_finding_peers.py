"""Every way of finding a peer, each alone, between hosts of their own: DHT, LSD, tracker, PEX, `--peer`, remembered."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.other_clients import need
from tests.support.processes import ROOT, p2pqwen, running
from tests.support.swarm import COMMIT, REPO, make_snapshot, preserve

sys.path.append(str(ROOT / "scripts"))

from lib.namespaces import NamespacesError, network

# Addresses that look public; no route leads out of the namespaces.
SEED, TRACKER, DHT = "77.77.1.1", "77.77.2.1", "77.77.3.1"
PORT = 6881
NOBODY = 5
POOR_PEER = """
import sys, time
import libtorrent as lt
host, torrent, folder, seed = sys.argv[1:]
session = lt.session({"listen_interfaces": f"{host}:6881", "enable_dht": False, "enable_lsd": False,
                      "download_rate_limit": 1000, "upload_rate_limit": 1000})
given = lt.load_torrent_file(torrent)
given.save_path, given.trackers = folder, []
handle = session.add_torrent(given)
handle.connect_peer((seed, 6881))
while not any(peer.ip[0] == seed and not peer.flags & lt.peer_info.connecting for peer in handle.get_peer_info()):
    time.sleep(0.1)
print("connected", flush=True)
sys.stdin.read()
"""
OFF = {"dht": "--no-dht", "lsd": "--no-lsd", "tracker": "--no-trackers"}


class Neighbourhood:
    """A seed, a tracker and a DHT node, and users who come to live there."""

    def __init__(self, hosts, folder, snapshot, processes):
        self.hosts, self.folder, self.snapshot, self._processes = hosts, folder, snapshot, processes
        self._come = 10

    def user(self, name):
        self._come += 1
        host = self.hosts.add(name, f"77.77.{self._come}.1")
        user = CommandLine(self.folder / name, P2PQWEN_DHT_BOOTSTRAP=f"{DHT}:{PORT}")
        user.home.mkdir(parents=True)
        return host, user

    def fetch(self, who, target, *options):
        code, said, problem = self.try_to_fetch(who, target, *options)
        assert code == 0, problem
        return said

    def try_to_fetch(self, who, target, *options, seconds=150):
        """The exit code, what it said, and what it complained of."""
        host, user = who
        arguments = p2pqwen(
            "fetch", target, "--no-upnp", "--no-web-seeds", "--timeout", str(seconds), "--json", *options
        )
        with running(host.command(arguments), user.environment) as process:
            code = process.wait(200)
        return code, json.loads(process.stdout), process.stderr

    def run(self, host, arguments, user=None):
        environment = {} if user is None else user.environment
        return self._processes.enter_context(running(host.command(arguments), environment))


@pytest.fixture(scope="module")
def neighbourhood(tmp_path_factory):
    need("opentracker")
    folder = tmp_path_factory.mktemp("hosts")
    snapshot = make_snapshot(folder / "snapshot")
    announce = f"http://{TRACKER}:6969/announce"
    snapshot = replace(snapshot, metainfo=replace(snapshot.metainfo, trackers=((announce,),)))
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(network())
        except NamespacesError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield build(hosts, folder, snapshot, stack.enter_context(contextlib.ExitStack()))


def build(hosts, folder, snapshot, processes):
    there = Neighbourhood(hosts, folder, snapshot, processes)
    there.run(hosts.add("dht", DHT), [sys.executable, ROOT / "scripts" / "prove_no_host.py", "--dht-node", DHT])
    rules = Path(processes.enter_context(tempfile.TemporaryDirectory()))
    rules.chmod(0o755)  # the tracker gives up root's rights
    hashes = (str(snapshot.metainfo.infohash.v1), str(snapshot.metainfo.infohash.v2)[:40])
    (rules / "whitelist").write_text("\n".join(hashes) + "\n")
    where = ("-i", TRACKER, "-p", "6969", "-P", "6969", "-d", rules, "-w", "whitelist")
    there.run(hosts.add("tracker", TRACKER), ["opentracker", *where])
    keeper = CommandLine(folder / "keeper", P2PQWEN_DHT_BOOTSTRAP=f"{DHT}:{PORT}")
    library = keeper.home / "library" / REPO
    shutil.copytree(snapshot.folder, library / COMMIT)
    (library / f"{COMMIT}.torrent").write_bytes(snapshot.metainfo.encode())
    seed = there.run(hosts.add("seed", SEED), p2pqwen("seed", "--no-upnp", "--json"), keeper)
    seed.line(60, containing='"seeding"')
    return there


def only(way):
    return [switch for name, switch in OFF.items() if name != way]


@pytest.mark.parametrize("way", ["dht", "lsd", "tracker"])
@pytest.mark.timeout(240)
def test_one_way_alone_is_enough(neighbourhood, way):
    torrent = neighbourhood.snapshot.write_torrent(neighbourhood.folder / f"{way}.torrent")
    # LSD is one multicast datagram in five minutes, and a machine with other work loses some. Each try is a newcomer's,
    # at an address of its own: whom the seed has not reached it leaves alone for a minute.
    tries = 4 if way == "lsd" else 1
    for number in range(tries):
        who = neighbourhood.user(f"by-{way}-{number}")
        code, done, problem = neighbourhood.try_to_fetch(who, torrent, *only(way), seconds=150 // tries)
        if code != NOBODY:
            break
    assert code == 0, problem
    assert done["bytes_from_peers"] == neighbourhood.snapshot.size


@pytest.mark.timeout(300)
def test_dht_nodes_of_earlier_are_enough_when_no_bootstrap_host_is_left(neighbourhood):
    host, user = neighbourhood.user("veteran")
    torrent = neighbourhood.snapshot.write_torrent(neighbourhood.folder / "veteran.torrent")
    neighbourhood.fetch((host, user), torrent, *only("dht"))
    user.ok("remove", f"{REPO}@{COMMIT}", "--yes")
    memory = json.loads((user.home / "peers.json").read_text())
    assert memory["dht"]
    (user.home / "peers.json").write_text(json.dumps({"dht": memory["dht"]}))  # of peers nothing
    user.environment["P2PQWEN_DHT_BOOTSTRAP"] = "none"
    assert neighbourhood.fetch((host, user), torrent, *only("dht"))["bytes_from_peers"] == neighbourhood.snapshot.size


@pytest.mark.timeout(240)
def test_a_named_peer_and_then_the_memory_of_it(neighbourhood):
    who = neighbourhood.user("named")
    torrent = neighbourhood.snapshot.write_torrent(neighbourhood.folder / "named.torrent")
    neighbourhood.fetch(who, torrent, *only(None), "--peer", f"{SEED}:{PORT}")
    who[1].ok("remove", f"{REPO}@{COMMIT}", "--yes")
    again = neighbourhood.fetch(who, torrent, *only(None))
    assert again["bytes_from_peers"] == neighbourhood.snapshot.size


@pytest.mark.timeout(300)
def test_a_peer_tells_of_another_peer(neighbourhood):
    """PEX: the one who is named has next to nothing, and gives it slowly; but it knows the seed."""
    host = neighbourhood.hosts.add("poor", "77.77.4.1")
    torrent = neighbourhood.snapshot.write_torrent(neighbourhood.folder / "pex.torrent")
    arguments = [sys.executable, "-c", POOR_PEER, host.address, torrent, neighbourhood.folder / "poor", SEED]
    neighbourhood.run(host, arguments).line(60, containing="connected")
    before = neighbourhood.hosts.bytes_sent()
    done = neighbourhood.fetch(neighbourhood.user("by-pex"), torrent, *only(None), "--peer", f"{host.address}:{PORT}")
    assert done["bytes_from_peers"] == neighbourhood.snapshot.size
    sent = {name: count - before.get(name, 0) for name, count in neighbourhood.hosts.bytes_sent().items()}
    assert sent["seed"] > 10 * sent["poor"]


@pytest.mark.timeout(300)
def test_independent_preservers_meet(neighbourhood):
    """Two people preserve one commit, each alone and from a copy of their own; one swarm is theirs, and it mends."""
    commit = "feedc0de" * 5
    files = small_model(900_000)
    torrents, people = [], [neighbourhood.user(name) for name in ("first", "second")]
    for host, user in people:
        torrents.append(preserve(user, neighbourhood.folder / f"copy of {host.name}", files, commit))
    assert torrents[0]["infohash_v1"] == torrents[1]["infohash_v1"]
    assert torrents[0]["infohash_v2"] == torrents[1]["infohash_v2"]
    (first, one), second = people
    neighbourhood.run(first, p2pqwen("seed", "--no-upnp", "--json"), one).line(60, containing='"seeding"')
    damaged = second[1].home / "library" / REPO / commit / "model.safetensors"
    damaged.write_bytes(bytes(len(files["model.safetensors"])))
    done = neighbourhood.fetch(second, f"{REPO}@{commit}", *only("dht"))
    assert done["bytes_from_peers"] >= len(files["model.safetensors"])
    assert damaged.read_bytes() == files["model.safetensors"]
