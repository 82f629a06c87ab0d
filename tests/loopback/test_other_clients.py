"""Our torrents and seeds with other people's clients, and their seeds with our fetch."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.other_clients import aria2, opentracker, qbittorrent
from tests.support.processes import p2pqwen, running
from tests.support.swarm import COMMIT, QUIET, REPO, make_snapshot

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


def test_aria2_fetches_the_published_torrent_from_our_seed(snapshot, tmp_path):
    """Over HTTP (BEP 19), its v1 pieces checked. It can join no hybrid's swarm: where it encodes an info dictionary
    anew, aria2 1.36 drops the empty keys of a v2 file tree, and so asks for an infohash that nobody has (measured)."""
    with our_seed(snapshot, snapshot.metainfo, tmp_path / "keeper", "--http", "127.0.0.1:0") as seed:
        port = seed.json_line(30, containing='"http"')["port"]
        metainfo = replace(snapshot.metainfo, web_seeds=(f"http://127.0.0.1:{port}/{REPO}/",))
        torrent = tmp_path / "x.torrent"
        torrent.write_bytes(metainfo.encode())
        with aria2(torrent, tmp_path / "aria2", "--seed-time=0") as client:
            assert client.process.wait(60) == 0, client.process.stdout
    assert payload(tmp_path / "aria2" / COMMIT) == FILES


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
