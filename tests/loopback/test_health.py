"""`health` through the command line: a real tracker, a real DHT, web seeds that serve and that lie, a running node."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.swarm import tracker_scrape
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.tracker_scrape import NOBODY, Scraped, scrape_udp
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.values.digest import Sha1
from tests.simulators.dht_node import simulated_dht
from tests.support.addresses import LOOPBACK
from tests.support.archive import CONFIG, archive, node_of, swarms
from tests.support.command import CommandLine
from tests.support.waiting import wait_until

SIZES = [40_000, 60_000, 50_000]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with archive(tmp_path_factory.mktemp("archive"), SIZES) as made:
        yield made


def test_nobody_is_seen_and_that_is_said(small):
    reader = small.person("nobody-seen")
    rows = swarms(reader, "--no-look")
    assert len(rows) == len(SIZES)
    for repo, row in rows.items():
        assert (row["seeds"], row["peers"], row["last_complete_seen"], row["looked"]) == (None, None, None, None)
        assert (row["danger"], row["size"], row["held"]) == ("unknown", small.sizes[repo], None)
    looked = swarms(reader)
    assert {(row["seeds"], row["peers"], row["danger"]) for row in looked.values()} == {(0, 0, "critical")}
    assert all(row["sources"] == ["tracker"] and not row["estimated"] for row in looked.values())


def test_seeds_are_seen_through_the_tracker_and_remembered_when_they_leave(small):
    reader = small.person("reader")
    with node_of(small.publisher.user) as node:
        wait_until(lambda: node.stdout.count('"seeding"') == len(SIZES), 60, "the publisher seeds")
        seen = wait_until(lambda: _all_seen(reader), 60, "the seeds at the tracker")
    for row in seen.values():
        assert (row["seeds"], row["peers"], row["copies"]) == (1, 1, 1.0)
        assert row["last_complete_seen"] is not None
    text = reader.run("health", "--no-look")
    assert text.code == 0
    assert "Qwen/Model-0@0000000 " in text.stdout
    assert "critical" in text.stdout  # one copy, the Hub unknown
    known = wait_until(lambda: _gone(reader), 60, "the seeds to leave the tracker")
    assert {row["last_complete_seen"] for row in known.values()} == {row["last_complete_seen"] for row in seen.values()}


def _all_seen(reader):
    rows = swarms(reader, "--again")
    return rows if all(row["seeds"] == 1 for row in rows.values()) else None


def _gone(reader):
    rows = swarms(reader, "--again")
    return rows if all(row["seeds"] == 0 for row in rows.values()) else None


def test_a_running_node_looks_by_itself_and_never_counts_itself(small):
    """No command looks in the first part: what `--no-look` shows is what the node found out in the background.

    The tracker counts the node among the seeds, as a reader sees.
    """
    owner, reader = small.publisher.user, small.person("counts-the-owner")
    with node_of(owner) as node:
        wait_until(lambda: node.stdout.count('"seeding"') == len(SIZES), 60, "the owner seeds")
        wait_until(lambda: _all_seen(reader), 60, "the seeds at the tracker")
        rows = wait_until(lambda: _looked(owner, "--no-look"), 90, "the node's own look")
        assert _others(rows) == {(0, 0, "complete", "critical")}
        assert _others(swarms(owner, "--again")) == {(0, 0, "complete", "critical")}
        text = owner.run("health", "--no-look").stdout
        assert "tracker 0 min ago" in text
    for row in rows.values():
        assert row["last_complete_seen"] is None  # of another
        assert [(one["source"], one["seeds"]) for one in row["sightings"]] == [("tracker", 0)]


def _looked(owner, *options):
    rows = swarms(owner, *options)
    return rows if rows and all(row["sources"] == ["tracker"] for row in rows.values()) else None


def _others(rows):
    return {(row["seeds"], row["peers"], row["held"], row["danger"]) for row in rows.values()}


def test_nobody_looked_is_no_danger(small):
    reader = small.person("nobody-looked")
    never = reader.run("health", "--no-look").stdout
    assert never.count("unknown ") >= len(SIZES)
    assert never.count("no one yet") == len(SIZES)
    asked = reader.run("health", "--no-trackers").stdout
    assert asked.count("no one answered") == len(SIZES)
    assert "endangered" not in never + asked


def test_a_udp_tracker_says_the_same(small):
    reader = small.person("by-udp")
    torrents = [parse_magnet(one["magnet"]).infohash_v1 for one in entries(small)]
    tracker = small.tracker.replace("http://", "udp://")
    with node_of(small.publisher.user):
        wait_until(lambda: _all_seen(reader), 60, "the seeds at the tracker")
        found = asyncio.run(scrape_udp(tracker, [*torrents, Sha1(b"?" * 20)], named=LOOPBACK))
    assert [found[one] for one in torrents] == [Scraped(1, 1)] * len(SIZES)
    assert found[Sha1(b"?" * 20)] == NOBODY


def test_a_udp_tracker_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(tracker_scrape, "TRIES", (0.1, 0.1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        tracker = f"udp://127.0.0.1:{silent.getsockname()[1]}/announce"
        with pytest.raises(NetworkError, match="does not answer"):
            asyncio.run(scrape_udp(tracker, [Sha1(b"?" * 20)], named=LOOPBACK))


def test_what_the_dht_says_is_called_an_estimate(small):
    torrents = [parse_magnet(one["magnet"]).infohash_v1 for one in entries(small)]
    with simulated_dht(6) as nodes:
        for node in nodes:
            for seeds, torrent in enumerate(torrents):
                some = [Endpoint(f"127.1.{seeds}.{host}", 6881) for host in range(1, 2 * seeds + 1)]
                node.swarms[torrent.raw] = some, some[:1]
        reader = small.person("by-dht", CONFIG.replace("dht = false", "dht = true"))
        bootstrap = ",".join(str(node.endpoint) for node in nodes[:2])
        rows = reader.ok("health", "--no-trackers", P2PQWEN_DHT_BOOTSTRAP=bootstrap)["swarms"]
        assert [(row["repo"], row["seeds"], row["estimated"]) for row in rows] == [
            ("Qwen/Model-0", 0, True),  # the one most in danger first
            ("Qwen/Model-1", 2, True),
            ("Qwen/Model-2", 4, True),
        ]
        assert [row["danger"] for row in rows] == ["critical", "endangered", "thin"]
        assert (rows[0]["last_complete_seen"], rows[2]["last_complete_seen"] is None) == (None, False)
        text = reader.run("health", "--no-look", P2PQWEN_DHT_BOOTSTRAP=bootstrap).stdout
        assert "~4" in text
        assert "~ an estimate" in text


def test_time_that_runs_out_takes_nothing_back(small):
    """The DHT does not answer, the tracker does: what came is kept, and what did not is said."""
    with simulated_dht(4) as nodes:
        for node in nodes:
            node.behaviour.silent = True
        config = CONFIG.replace("dht = false", "dht = true")
        bootstrap = ",".join(str(node.endpoint) for node in nodes)
        reader = small.person("out-of-time", config)
        ended = reader.run("health", "--look-seconds", "1", "--json", P2PQWEN_DHT_BOOTSTRAP=bootstrap)
        assert {tuple(row["sources"]) for row in ended.json["swarms"]} == {("tracker",)}
        blind = small.person("blind", config)
        ended = blind.run("health", "--look-seconds", "1", "--no-trackers", P2PQWEN_DHT_BOOTSTRAP=bootstrap)
    assert ended.code == 0
    assert "3 of 3 swarms were not looked at" in ended.stderr


def entries(small):
    return json.loads((small.publisher.site / "index.json").read_text())["signed"]["entries"]


def test_web_seeds_are_asked_for_a_file_that_is_known(tmp_path):
    """The owner knows what the file must be; a reader takes any answer, and says how many gave one."""
    with archive(tmp_path, SIZES[:2]) as small:
        owner = small.publisher.user
        with node_of(owner, "--http", "127.0.0.1:0") as node:
            wait_until(lambda: node.stdout.count('"seeding"') == 2, 60, "the owner seeds")
            port = node.json_line(30, containing='"http"')["port"]
            owner.ok("publish", "--out", small.publisher.site, "--web-seed", f"http://127.0.0.1:{port}/{{repo}}/")
            (owner.home / "config.toml").write_text(CONFIG.replace("never", "auto"))
            reader = small.person("reader", CONFIG.replace("never", "auto"))
            for someone in (owner, reader):
                rows = swarms(someone, "--again")
                assert {(row["web_seeds_ok"], row["web_seeds_asked"]) for row in rows.values()} == {(1, 1)}
            for model in ("Model-0", "Model-1"):  # what the server gives from now on does not match what was signed
                (owner.home / "library" / "Qwen" / model / entry_commit(model) / "README.md").write_bytes(b"?" * 64)
            assert {row["web_seeds_ok"] for row in swarms(owner, "--again").values()} == {0}
        assert {row["web_seeds_ok"] for row in swarms(reader, "--again").values()} == {0}


def entry_commit(model):
    return f"{int(model.removeprefix('Model-')):040x}"


def test_only_what_is_asked_for(small):
    reader = small.person("picky")
    assert list(swarms(reader, "Qwen/Model-1", "--no-look")) == ["Qwen/Model-1"]
    assert list(swarms(reader, f"Qwen/Model-2@{2:040x}", "--no-look")) == ["Qwen/Model-2"]
    assert reader.run("health", "Qwen/Other", "--no-look").code == 4
    assert reader.run("health", "no/such/name", "--no-look").code == 2


def test_a_tracker_that_is_gone_fails_nothing(small):
    reader = small.person("no-trackers")
    rows = swarms(reader, "--no-trackers")
    assert all(row["looked"] is None for row in rows.values())


def test_an_empty_home_has_nothing_to_show(tmp_path):
    nobody = CommandLine(tmp_path)
    assert nobody.ok("health") == {"swarms": []}
    assert "nothing is held" in nobody.run("health").stdout


def test_a_damaged_memory_is_no_reason_to_fail(small):
    reader = small.person("damaged")
    swarms(reader)
    state = reader.home / "state.sqlite"
    state.write_bytes(b"not a database")
    for more in ("-wal", "-shm"):
        state.with_name(state.name + more).unlink(missing_ok=True)
    assert len(swarms(reader, "--no-look")) == len(SIZES)
    shutil.rmtree(reader.home)
