"""Our torrents and seeds with other people's clients, and their seeds with our fetch.

What each does with the Hub's redirects alone depends on the day; `scripts/try_clients.py` measures it.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.hub.hub_site import HubSite
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.hub import HubSimulator
from tests.support.browser import web_server
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.other_clients import aria2, opentracker, qbittorrent, transmission, v1_torrent
from tests.support.processes import p2pqwen, running
from tests.support.swarm import COMMIT, QUIET, REPO, make_snapshot
from tests.support.waiting import wait_until

FILES = small_model(2_000_000)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return make_snapshot(tmp_path_factory.mktemp("snapshot"), FILES)


def payload(folder):
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(".pad/")}


def hold(user, snapshot, metainfo):
    """Put a snapshot into somebody's library."""
    folder = user.home / "library" / REPO
    shutil.copytree(snapshot.folder, folder / COMMIT)
    (folder / f"{COMMIT}.torrent").write_bytes(metainfo.encode())


def magnet_of(metainfo):
    return f"magnet:?xt=urn:btih:{metainfo.infohash.v1}&dn={REPO}@{COMMIT}"


@contextlib.contextmanager
def our_seed(snapshot, metainfo, folder, *options):
    """A `p2pqwen seed` process that asks its torrent's trackers."""
    keeper = CommandLine(folder)
    hold(keeper, snapshot, metainfo)
    quiet = ("--no-dht", "--no-lsd", "--no-upnp")
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *quiet, *options, "--json"), keeper.environment) as seed:
        seed.line(30, containing='"seeding"')
        yield seed


def fetch(tmp_path, snapshot, target, *options):
    user = CommandLine(tmp_path / "user")
    done = user.ok("fetch", target, *options, "--no-web-seeds", "--timeout", "60")
    assert payload(Path(done["path"])) == FILES
    assert done["bytes_from_peers"] == snapshot.size


@contextlib.contextmanager
def our_http_seed(snapshot, folder):
    """A `p2pqwen seed --http` process; the BEP 19 base of the model."""
    with our_seed(snapshot, snapshot.metainfo, folder, "--http", "127.0.0.1:0") as seed:
        port = seed.json_line(30, containing='"http"')["port"]
        yield f"http://127.0.0.1:{port}/{REPO}/"


def write_torrent(path, metainfo, *web_seeds):
    path.write_bytes(replace(metainfo, web_seeds=web_seeds).encode())
    return path


def test_aria2_fetches_the_published_torrent_from_our_seed(snapshot, tmp_path):
    """Over HTTP (BEP 19), its v1 pieces checked. It can join no hybrid's swarm: where it encodes an info dictionary
    anew, aria2 1.36 drops the empty keys of a v2 file tree, and so asks for an infohash that nobody has (measured)."""
    with our_http_seed(snapshot, tmp_path / "keeper") as base:
        torrent = write_torrent(tmp_path / "x.torrent", snapshot.metainfo, base)
        with aria2(torrent, tmp_path / "aria2", "--seed-time=0") as client:
            assert client.process.wait(60) == 0, client.process.stdout
    assert payload(tmp_path / "aria2" / COMMIT) == FILES


def test_qbittorrent_fetches_from_our_http_seed(snapshot, tmp_path):
    with our_http_seed(snapshot, tmp_path / "keeper") as base:
        torrent = write_torrent(tmp_path / "x.torrent", snapshot.metainfo, base)
        with qbittorrent(torrent, tmp_path / "theirs", tmp_path / "profile") as client:
            wait_until(lambda: client.progress == 1, 90, "qBittorrent has everything")
            wait_until(lambda: payload(tmp_path / "theirs" / COMMIT) == FILES, 30, "qBittorrent wrote everything")


def test_qbittorrent_fetches_from_our_seeder(snapshot, tmp_path):
    torrent = write_torrent(tmp_path / "x.torrent", snapshot.metainfo)
    with our_seed(snapshot, snapshot.metainfo, tmp_path / "keeper") as seed:
        port = seed.json_line(30, containing='"listening"')["port"]
        with qbittorrent(torrent, tmp_path / "theirs", tmp_path / "profile") as client:
            wait_until(lambda: client.has_torrent, 30, "qBittorrent took the torrent")
            client.connect(f"127.0.0.1:{port}")
            wait_until(lambda: client.progress == 1, 90, "qBittorrent has everything")
            wait_until(lambda: payload(tmp_path / "theirs" / COMMIT) == FILES, 30, "qBittorrent wrote everything")


def test_qbittorrent_finishes_from_the_hub_alone_with_the_bases_that_publish_lists(tmp_path):
    with HubSimulator() as hub:
        commit = hub.add(REPO, write_folder(tmp_path / "source", FILES))
        publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
        publisher.ok("keys", "init", "--name", "Test Keep", "--no-passphrase")
        publisher.ok("preserve", REPO)
        publisher.ok("publish", "--out", tmp_path / "site")
        torrent = tmp_path / "site" / REPO / f"{commit}.torrent"
        assert parse_metainfo(torrent.read_bytes()).web_seeds == HubSite(hub.endpoint).web_seeds(RepoId(REPO)).all
        with qbittorrent(torrent, tmp_path / "theirs", tmp_path / "profile") as client:
            wait_until(lambda: client.progress == 1, 150, "qBittorrent has everything")
            wait_until(lambda: payload(tmp_path / "theirs" / str(commit)) == FILES, 30, "qBittorrent wrote everything")


def test_an_rss_rule_of_qbittorrent_finishes_what_a_feed_names(tmp_path):
    with HubSimulator() as hub, web_server(tmp_path / "site") as mirror:
        commit = hub.add(REPO, write_folder(tmp_path / "source", FILES))
        publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
        publisher.ok("keys", "init", "--name", "Test Keep", "--no-passphrase")
        publisher.ok("preserve", REPO)
        publisher.ok("publish", "--out", tmp_path / "site", "--mirror", mirror, "--no-check")
        with qbittorrent(None, tmp_path / "theirs", tmp_path / "profile") as client:
            client.follow(f"{mirror}p2pqwen--site/feeds/new.rss.xml")
            wait_until(lambda: client.has_torrent, 60, "qBittorrent took the torrent of the feed")
            wait_until(lambda: client.progress == 1, 150, "qBittorrent has everything")
            wait_until(lambda: payload(tmp_path / "theirs" / str(commit)) == FILES, 30, "qBittorrent wrote everything")


def test_transmission_refuses_a_hybrid_before_4_0_and_fetches_from_our_http_seed(snapshot, tmp_path):
    """3.00 gets as far as our seeder's metadata (BEP 9), whose hash is right, and cannot read it. The same files as a
    v1 torrent it fetches from our HTTP server."""
    with (
        our_http_seed(snapshot, tmp_path / "keeper") as base,
        transmission(tmp_path / "theirs", tmp_path / "profile") as client,
    ):
        torrent = write_torrent(tmp_path / "x.torrent", snapshot.metainfo, base)
        if client.version.startswith(("2.", "3.")):
            assert client.add(torrent) == "invalid or corrupt torrent file"
            torrent.write_bytes(v1_torrent(snapshot.folder, base, 256 * 1024))
        assert client.add(torrent) == "success"
        wait_until(lambda: client.progress == 1, 90, "Transmission has everything")
        expected = {name: data for name, data in FILES.items() if data}  # it makes no empty files
        wait_until(lambda: payload(tmp_path / "theirs" / COMMIT) == expected, 30, "Transmission wrote everything")


def test_a_seed_is_found_through_a_tracker(snapshot, tmp_path):
    with opentracker(snapshot.metainfo) as announce:
        metainfo = replace(snapshot.metainfo, trackers=((announce,),))
        torrent = tmp_path / "x.torrent"
        torrent.write_bytes(metainfo.encode())
        with our_seed(snapshot, metainfo, tmp_path / "keeper"):
            fetch(tmp_path, snapshot, torrent, "--no-dht", "--no-lsd", "--no-upnp")


@pytest.mark.parametrize("by", ["torrent", "magnet"])
def test_our_fetch_from_a_seed_that_is_qbittorrent(snapshot, tmp_path, by):
    folder = tmp_path / "qbittorrent"
    shutil.copytree(snapshot.folder, folder / COMMIT)
    torrent = snapshot.write_torrent(tmp_path / "x.torrent")
    target = torrent if by == "torrent" else magnet_of(snapshot.metainfo)
    with qbittorrent(torrent, folder, tmp_path / "profile") as client:
        fetch(tmp_path, snapshot, target, "--peer", client.peer, *QUIET)
