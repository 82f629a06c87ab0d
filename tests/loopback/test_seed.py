"""The node in the foreground: what it says, what it serves, what it never touches, and that it stops."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.processes import p2pqwen, running
from tests.support.swarm import COMMIT, QUIET, REPO, preserve, seeding
from tests.support.waiting import wait_until

FILES = small_model(2_000_000)
OTHER = "d0d0" * 10


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A library with one snapshot; tests copy it."""
    user = CommandLine(tmp_path_factory.mktemp("original"))
    preserve(user, user.home.parent / "model", FILES)
    return user


@pytest.fixture
def keeper(original, tmp_path):
    user = CommandLine(tmp_path / "keeper")
    shutil.copytree(original.home / "library", user.home / "library")
    return user


@pytest.fixture
def stranger(tmp_path):
    return CommandLine(tmp_path / "stranger")


def torrent_of(user, commit=COMMIT):
    return user.home / "library" / REPO / f"{commit}.torrent"


def fetch(user, keeper, peer, commit=COMMIT):
    options = ("--peer", peer, *QUIET, "--no-web-seeds", "--no-hf-cache", "--timeout", "30")
    return user.ok("fetch", torrent_of(keeper, commit), *options)


def events(process, name):
    return [event for line in list(process.lines) if (event := json.loads(line))["event"] == name]


def status(user):
    return user.ok("status")


def looks(folder):
    return {path: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for path in folder.rglob("*") if (stat := path.stat())}


def test_it_says_what_it_does_one_json_event_a_line(keeper):
    metainfo = parse_metainfo(torrent_of(keeper).read_bytes())
    with seeding(keeper) as (process, peer):
        (listening,) = events(process, "listening")
        (seeds,) = events(process, "seeding")
        assert listening == {
            "event": "listening",
            "host": "127.0.0.1",
            "port": int(peer.split(":")[1]),
            "pid": process.pid,
        }
        assert (seeds["repo"], seeds["commit"]) == (REPO, COMMIT)
        assert seeds["infohash_v1"] == str(metainfo.infohash.v1)
        assert seeds["infohash_v2"] == str(metainfo.infohash.v2)
        assert seeds["size"] == metainfo.layout.total_size
        assert process.stop() == 0
        assert json.loads(process.lines[-1]) == {"event": "stopped", "pid": process.pid}


def test_for_people_there_are_words(keeper):
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET), keeper.environment) as process:
        process.line(30, containing="listening: host=127.0.0.1")
        process.line(30, containing=f"seeding: repo={REPO}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked(keeper, number):
    with seeding(keeper) as (process, _):
        process.send_signal(number)
        assert process.wait(10) == 0
    assert status(keeper)["node"] is None
    assert not (keeper.home / "node.json").exists()


def test_it_stops_in_time_with_trackers_that_never_answer(keeper):
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen(50)
        metainfo = parse_metainfo(torrent_of(keeper).read_bytes())
        port = tarpit.getsockname()[1]
        trackers = ((f"http://127.0.0.1:{port}/announce",), (f"udp://127.0.0.1:{port}/announce",))
        with_trackers = type(metainfo)(
            metainfo.info, metainfo.piece_layers, trackers=trackers, manifest=metainfo.manifest
        )
        torrent_of(keeper).write_bytes(with_trackers.encode())
        arguments = p2pqwen("seed", "--listen", "127.0.0.1:0", "--no-dht", "--no-lsd", "--no-upnp", "--json")
        with running(arguments, keeper.environment) as process:
            process.line(30, containing='"seeding"')
            tarpit.settimeout(20)
            announce, _ = tarpit.accept()
            with announce:
                announce.settimeout(5)
                assert announce.recv(4096).startswith(b"GET /announce?")
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0


def test_without_trackers_none_is_asked(keeper):
    with socket.socket() as tracker:
        tracker.bind(("127.0.0.1", 0))
        tracker.listen(5)
        metainfo = parse_metainfo(torrent_of(keeper).read_bytes())
        trackers = ((f"http://127.0.0.1:{tracker.getsockname()[1]}/announce",),)
        torrent_of(keeper).write_bytes(
            type(metainfo)(metainfo.info, metainfo.piece_layers, trackers=trackers, manifest=metainfo.manifest).encode()
        )
        with seeding(keeper):
            tracker.settimeout(2)
            with pytest.raises(TimeoutError):
                tracker.accept()


def test_a_stranger_fetches_from_it_and_its_files_stay_as_they_are(keeper, stranger):
    library = keeper.home / "library"
    before = looks(library)
    with seeding(keeper) as (_, peer):
        done = fetch(stranger, keeper, peer)
        assert done["bytes_from_peers"] == sum(map(len, FILES.values()))
        wait_until(lambda: status(keeper)["snapshots"][0]["uploaded"] >= 2_000_000, 20, "the upload is counted")
    assert looks(library) == before


def test_the_second_start_reads_nothing_again_and_serves_all_the_same(keeper, stranger):
    with seeding(keeper) as (process, _):
        assert len(events(process, "checking")) == 1
    with seeding(keeper) as (process, peer):
        assert events(process, "checking") == []
        fetch(stranger, keeper, peer)


def test_one_node_for_each_home(keeper):
    with seeding(keeper) as (process, _):
        second = keeper.run("seed", "--listen", "127.0.0.1:0", *QUIET)
        assert second.code == 1
        assert f"node is in use by process {process.pid}\nhint: each home has one node, and" in second.stderr


def test_status_shows_the_node_and_its_snapshots(keeper):
    # A library that came here as a copy: nobody has read its files where they are now.
    assert [row["state"] for row in status(keeper)["snapshots"]] == ["changed"]
    keeper.ok("verify", REPO)
    at_rest = status(keeper)
    assert at_rest["node"] is None
    assert [(row["state"], row["progress"]) for row in at_rest["snapshots"]] == [("complete", 1.0)]
    with seeding(keeper) as (process, peer):
        running_node = wait_until(lambda: status(keeper)["node"], 10, "the node is seen")
        assert running_node == {"pid": process.pid, "listen": peer}
        (row,) = wait_until(
            lambda: [row for row in status(keeper)["snapshots"] if row["state"] == "seeding"], 10, "the snapshot"
        )
        assert row.keys() >= {
            "repo", "commit", "state", "progress", "peers", "seeds", "download_rate", "upload_rate",
        }  # fmt: skip
        process.kill()
    assert status(keeper)["node"] is None  # whatever it left behind


def test_a_snapshot_that_comes_later_is_served_and_one_that_goes_is_not(keeper, stranger, tmp_path):
    with seeding(keeper) as (process, peer):
        preserve(keeper, tmp_path / "more", {"README.md": b"more\n", "config.json": b"{}\n"}, commit=OTHER)
        process.line(30, containing=OTHER)
        wait_until(lambda: len(events(process, "seeding")) == 2, 30, "it is served")
        assert fetch(stranger, keeper, peer, OTHER)["commit"] == OTHER
        keeper.ok("remove", f"{REPO}@{OTHER}", "--yes")
        wait_until(lambda: events(process, "removed"), 30, "it is gone")
        assert events(process, "removed")[0]["commit"] == OTHER


def rot(path, position=1_000_000):
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"rotten")


def test_a_damaged_snapshot_is_reported_and_its_good_pieces_are_served(keeper, stranger):
    weights = keeper.home / "library" / REPO / COMMIT / "model.safetensors"
    rot(weights)
    rotten = weights.read_bytes()
    arguments = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json")
    with running(arguments, keeper.environment) as process:
        peer = f"127.0.0.1:{process.json_line(30, containing='listening')['port']}"
        damaged = process.json_line(30, containing='"damaged"')
        assert (damaged["commit"], damaged["bad_pieces"]) == (COMMIT, 1)
        wait_until(lambda: "p2pqwen verify" in process.stderr, 10, "advice")
        ended = stranger.run(
            "fetch", torrent_of(keeper), "--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "4", "--no-hf-cache"
        )
        assert ended.code == 5
        assert events(process, "seeding") == []
        row = status(keeper)["snapshots"][0]
        assert row["state"] == "damaged"
        assert 0.8 < row["progress"] < 1
    assert weights.read_bytes() == rotten
    copy = stranger.home / "library" / REPO / COMMIT / "model.safetensors"
    assert copy.read_bytes()[:700_000] == FILES["model.safetensors"][:700_000]


def test_a_piece_that_rots_after_it_was_verified_is_never_given_away(keeper, stranger):
    weights = keeper.home / "library" / REPO / COMMIT / "model.safetensors"
    with seeding(keeper):
        pass
    with seeding(keeper) as (process, peer):
        rot(weights)
        ended = stranger.run(
            "fetch", torrent_of(keeper), "--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "4", "--no-hf-cache"
        )
        assert ended.code == 5
        assert "arrived damaged" not in ended.stderr
        assert process.json_line(20, containing='"damaged"')["bad_pieces"] == 1
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json"), keeper.environment) as process:
        process.json_line(30, containing='"damaged"')  # and it is not believed the next time


def test_a_mended_snapshot_is_served_again(original, keeper, tmp_path):
    other = CommandLine(tmp_path / "other")
    shutil.copytree(original.home / "library", other.home / "library")
    rot(keeper.home / "library" / REPO / COMMIT / "model.safetensors")
    arguments = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json")
    with seeding(other) as (_, peer), running(arguments, keeper.environment) as process:
        process.json_line(30, containing='"damaged"')
        fetch(keeper, keeper, peer)
        process.line(30, containing='"seeding"')


def test_a_torrent_that_cannot_be_read_does_not_stop_the_others(keeper):
    broken = torrent_of(keeper).with_name("ab" * 20 + ".torrent")
    broken.write_bytes(b"not a torrent")
    with seeding(keeper) as (process, _):
        wait_until(lambda: "is not seeded" in process.stderr, 10, "word of the broken one")


def test_an_incomplete_snapshot_is_not_served(keeper, stranger):
    stranger.run("fetch", torrent_of(keeper), *QUIET, "--no-web-seeds", "--timeout", "1", "--no-hf-cache")
    assert stranger.ok("list")["snapshots"][0]["state"] == "incomplete"
    with seeding(stranger, snapshots=0) as (process, _):
        wait_until(lambda: events(process, "stats"), 30, "it runs")
        assert events(process, "seeding") == events(process, "checking") == []


@pytest.mark.parametrize(
    ("listen", "code"), [("nowhere", 2), ("127.0.0.1", 2), ("127.0.0.1:99999", 2), ("192.0.2.200:0", 1)]
)
def test_places_it_cannot_listen_at(keeper, listen, code):
    with running(p2pqwen("seed", "--listen", listen, *QUIET, "--json"), keeper.environment) as process:
        assert process.wait(30) == code
        assert "error:" in process.stderr


def test_a_port_that_is_taken(keeper):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with running(p2pqwen("seed", "--listen", listen, *QUIET), keeper.environment) as process:
            assert process.wait(30) == 1
            assert "cannot listen on" in process.stderr


def test_many_strangers_at_once(keeper, tmp_path):
    """Three fetch at the same time; each gets everything, from the seed or from one another."""
    users = [CommandLine(tmp_path / f"user{number}", processes=True) for number in range(3)]
    with seeding(keeper) as (_, peer):
        done = []
        threads = [threading.Thread(target=lambda one=one: done.append(fetch(one, keeper, peer))) for one in users]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(done) == 3
    for one in done:
        folder = Path(one["path"])
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES
