"""`fetch` from web seeds as a user runs it: expiring URLs, bursts of 429, liars, hubs that are gone, peers first."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET, seeding
from tests.support.waiting import wait_until
from tests.support.web_seeds import PlainServer

REPO = "Qwen/Tiny"
FILES = small_model(12_000_000)
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def hub():
    with HubSimulator(url_lifetime=2) as simulator:
        yield simulator


@pytest.fixture
def torrent(hub, tmp_path):
    """A preserved model's torrent, whose one web seed is the Hub."""
    commit = hub.add(REPO, write_folder(tmp_path / "src", FILES))
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    done = publisher.ok("preserve", REPO)
    assert done["commit"] == str(commit)
    hub.log.clear()
    return done["torrent"]


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path / "user", hub.endpoint)


def mirror_files(torrent, files=FILES):
    name = torrent.rsplit("/", 1)[-1].removesuffix(".torrent")
    return {f"{name}/{path}": data for path, data in files.items()}


def content(done):
    folder = Path(done["path"])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_a_hub_with_two_second_urls_and_a_burst_of_429(user, hub, torrent):
    hub.fault("429", times=5)
    done = user.ok("fetch", torrent, "--only-web-seeds", "--timeout", "60")
    assert content(done) == FILES
    assert done["verified"] is True
    assert done["provenance"] == "proven"
    assert done["bytes_from_web_seeds"] == SIZE
    assert done["bytes_from_peers"] == 0
    (row,) = done["web_seeds"]
    assert row["url"] == f"{hub.endpoint}/{REPO}/resolve/"
    assert row["bytes"] == SIZE
    assert row["requests"] == len(hub.calls())
    assert row["faults"]["busy"] >= 1
    assert user.ok("verify", REPO)["ok"]


def test_of_two_upstreams_the_liar_is_named(user, hub, torrent):
    lies = {name: bytes(len(data)) for name, data in FILES.items()}
    with PlainServer(mirror_files(torrent, lies)) as liar:
        ended = user.run("fetch", torrent, "--only-web-seeds", "--web-seed", liar.url, "--timeout", "60", "--json")
    assert ended.code == 0, ended
    assert content(ended.json) == FILES
    rows = {row["url"]: row for row in ended.json["web_seeds"]}
    assert rows[liar.url]["bytes"] == 0
    assert set(rows[liar.url]["dropped"]) == {name for name, data in FILES.items() if data}
    assert liar.url in ended.stderr
    assert "wrong bytes" in ended.stderr
    assert ended.json["bytes_from_web_seeds"] == SIZE


def test_a_hub_that_is_gone_is_said_and_a_mirror_goes_on(user, hub, torrent):
    hub.fault("gone")
    with PlainServer(mirror_files(torrent)) as mirror:
        ended = user.run("fetch", torrent, "--only-web-seeds", "--web-seed", mirror.url, "--timeout", "60", "--json")
        config = user.home / "config.toml"
        assert ended.code == 0, ended
        assert content(ended.json) == FILES
        user.ok("remove", REPO, "--yes")
        config.write_text(f'[web_seeds]\nbases = ["{mirror.url}"]\n')
        assert content(user.ok("fetch", torrent, "--only-web-seeds", "--timeout", "60")) == FILES


HOPELESS = {
    "gone": "answered 404",
    "403": "answered 403",
    "500": "answered 500",
    "503": "answered 503",
    "html": "an HTML page",
    "loop": "redirects in a circle",
    "refuse": "broke off",
    "hang": "no web seed|no answer|nothing arrived",
    "short": "a file of 1000 bytes",
    "corrupt": "failed its hash",
    "closed": "cannot be reached",
}


def test_when_nobody_has_it_that_is_said_with_exit_5_in_time(hub, torrent, tmp_path):
    """Each fault is that of a Hub of its own, all at once: most of the time is spent waiting."""
    with ExitStack() as stack:
        fetches = {}
        for fault in HOPELESS:
            bad = stack.enter_context(HubSimulator())
            bad.add(REPO, tmp_path / "src")
            if fault != "closed":
                bad.fault(fault)
            target = tmp_path / f"{fault}.torrent"
            base = f"{bad.endpoint}/{REPO}/resolve/"
            target.write_bytes(replace(parse_metainfo(Path(torrent).read_bytes()), web_seeds=(base,)).encode())
            if fault == "closed":
                bad.close()
            someone = CommandLine(tmp_path / f"user-{fault}", bad.endpoint)
            command = p2pqwen("fetch", target, "--only-web-seeds", "--timeout", "15", "--json")
            fetches[fault] = base, stack.enter_context(running(command, someone.environment))
        for fault, (base, process) in fetches.items():
            assert process.wait(150) == 5, (fault, process.stderr)
            error = json.loads(process.stdout)["error"]
            assert base in error["got"], (fault, error)
            assert re.search(HOPELESS[fault], f"{error['what']} {error['got']}"), (fault, error)


def test_a_lone_liar_ends_with_exit_5_and_nothing_wrong_on_disk(user, hub, torrent):
    hub.fault("corrupt")
    ended = user.run("fetch", torrent, "--only-web-seeds", "--timeout", "20", "--json")
    assert ended.code == 5
    assert "wrong bytes" in ended.stderr


def test_the_newest_index_wins_over_a_stale_torrent(user, hub, torrent, tmp_path):
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    publisher_id = publisher.ok("keys", "init", "--name", "Keep", "--no-passphrase")["publisher"]
    with PlainServer(mirror_files(torrent)) as mirror:
        publisher.ok("publish", "--out", tmp_path / "site", "--web-seed", mirror.url)
        entry = json.loads((tmp_path / "site" / "index.json").read_text())["signed"]["entries"][0]
        assert mirror.url in entry["web_seeds"]
        hub.close()
        user.ok("trust", "add", publisher_id, "--index", tmp_path / "site")
        stale = tmp_path / "stale.torrent"
        stale.write_bytes(_stale(torrent))
        done = user.ok("fetch", stale, "--only-web-seeds", "--timeout", "60")
    assert content(done) == FILES
    assert mirror.url in {row["url"] for row in done["web_seeds"]}


def _stale(torrent):
    """The torrent as it was before the mirror was known."""
    return replace(parse_metainfo(Path(torrent).read_bytes()), web_seeds=("http://127.0.0.1:9/gone/",)).encode()


def test_peers_come_first_and_spare_the_hub(user, hub, torrent, tmp_path):
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    with seeding(publisher) as (_, peer):
        done = user.ok("fetch", torrent, "--peer", peer, *QUIET, "--timeout", "60")
    assert content(done) == FILES
    assert done["bytes_from_peers"] == SIZE
    assert done["bytes_from_web_seeds"] == 0
    assert hub.count(kind="resolve") == 0


def test_web_seeds_join_when_the_peer_is_gone(user, hub, torrent):
    done = user.run("fetch", torrent, "--peer", "127.0.0.1:9", *QUIET, "--timeout", "60", "--json")
    assert done.code == 0, done
    assert done.json["bytes_from_web_seeds"] == SIZE
    assert "web seeds are joining: there are no peers" in done.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--web-seeds", "never", "--only-web-seeds"), 2),
        (("--web-seeds", "always", "--no-web-seeds"), 2),
        (("--web-seeds", "sometimes"), 2),
        (("--web-seed", "ftp://m.example/"), 2),
    ],
)
def test_choices_that_contradict_each_other(user, torrent, options, code):
    assert user.run("fetch", torrent, *options, "--timeout", "5").code == code


def test_the_config_decides_and_the_command_line_over_it(user, hub, torrent):
    user.home.mkdir(parents=True)
    (user.home / "config.toml").write_text('[network]\nweb_seeds = "never"\n')
    ended = user.run("fetch", torrent, *QUIET, "--timeout", "2")
    assert ended.code == 5
    assert not hub.calls(kind="resolve")
    assert content(user.ok("fetch", torrent, *QUIET, "--web-seeds", "always", "--timeout", "60")) == FILES


def test_always_uses_web_seeds_beside_a_good_peer(user, hub, torrent, tmp_path):
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    with seeding(publisher, "--upload-limit", "1MB/s") as (_, peer):
        done = user.ok("fetch", torrent, "--peer", peer, *QUIET, "--web-seeds", "always", "--timeout", "60")
    assert content(done) == FILES
    assert done["bytes_from_web_seeds"] > 0


def test_two_sources_that_fail_in_turn_stand_in_one_ledger(user, hub, torrent, tmp_path):
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    hub.fault("503")
    with ExitStack() as seed, ExitStack() as rest:
        _, peer = seed.enter_context(seeding(publisher, "--upload-limit", "1MB/s"))
        arguments = ("fetch", torrent, "--peer", peer, *QUIET, "--web-seeds", "always", "--timeout", "60", "--json")
        fetching = rest.enter_context(running(p2pqwen(*arguments), user.environment))
        wait_until(lambda: re.search(r"download: [2-9][.\d]* MB", fetching.stderr), 60, "the peer gave something")
        seed.close()
        hub.faults.clear()
        assert fetching.wait(60) == 0, fetching.stderr
    done = json.loads(fetching.stdout)
    assert done["bytes_from_peers"] > 0
    assert done["bytes_from_web_seeds"] > 0
    assert done["bytes_from_peers"] + done["bytes_from_web_seeds"] == SIZE
    assert sum(row["bytes"] for row in done["web_seeds"]) == done["bytes_from_web_seeds"]
