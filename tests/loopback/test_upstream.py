"""Whether the Hub still shows a snapshot: asked, remembered with dates, told, shown and published."""

from __future__ import annotations

import json

import pytest

from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.faults import EVERYTHING, Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import write_folder
from tests.support.preserved import small_model

STAYS, GOES = "Qwen/Stays", "Qwen/Goes"


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def keeper(hub, tmp_path):
    user = CommandLine(tmp_path / "keeper", hub.endpoint)
    user.ok("keys", "init", "--name", "Test Keep", "--no-passphrase")
    for repo in (STAYS, GOES):
        hub.add(repo, write_folder(tmp_path / repo, small_model()))
        user.ok("preserve", repo)
    return user


def states(rows):
    return {row["repo"]: row["upstream"] for row in rows}


def test_a_deleted_repository_is_told_shown_and_comes_back(hub, keeper):
    before = keeper.ok("upstream", "show")["snapshots"]
    assert states(before) == {STAYS: "present", GOES: "present"}  # preserving was a look
    kept = hub.repositories[GOES]
    hub.delete(GOES)
    ended = keeper.run("upstream", "check", "--json")
    assert ended.code == 0
    assert "gone from the Hub: Qwen/Goes@" in ended.stderr
    assert (ended.json["asked"], ended.json["answered"]) == (2, 2)
    assert [row["repo"] for row in ended.json["vanished"]] == [GOES]
    (gone,) = [row for row in ended.json["snapshots"] if row["repo"] == GOES]
    (known,) = [row for row in before if row["repo"] == GOES]
    assert gone["upstream"] == "gone"
    assert gone["upstream_since"] == gone["upstream_looked"] >= known["upstream_looked"]
    assert gone["upstream_last_present"] == known["upstream_looked"]
    for command in ("list", "status"):
        assert states(keeper.ok(command)["snapshots"]) == {STAYS: "present", GOES: "gone"}
        assert keeper.run(command).stdout.count("gone from the Hub since 20") == 1

    again = keeper.run("upstream", "check", GOES, "--json")
    assert again.json["vanished"] == []  # told once
    assert "gone from the Hub" not in again.stderr
    assert again.json["snapshots"][0]["upstream_since"] == gone["upstream_since"]

    hub.repositories[GOES] = kept
    back = keeper.ok("upstream", "check")
    assert [row["repo"] for row in back["returned"]] == [GOES]
    assert states(back["snapshots"]) == {STAYS: "present", GOES: "present"}


def test_a_private_one_is_gone_and_a_silent_hub_changes_nothing(hub, keeper):
    hub.repositories[GOES].private = True
    keeper.ok("upstream", "check")
    looked = keeper.ok("upstream", "show")["snapshots"]
    assert states(looked) == {STAYS: "present", GOES: "gone"}
    hub.close()
    assert keeper.run("upstream", "check", STAYS).code == 5
    assert keeper.ok("upstream", "show")["snapshots"] == looked
    assert keeper.run("upstream", "check", "Qwen/Else").code == 4


@pytest.mark.parametrize("name", ["404", "410", "403", "html", "400"])
def test_what_a_proxy_says_is_not_what_the_hub_says(hub, keeper, name):
    """Anybody between us and the Hub can say 404; then nothing is announced, and nothing is dropped from an index."""
    known = keeper.ok("upstream", "show")["snapshots"]
    effect = {
        "404": Effect(status=404, body=b"<html>not found</html>"),
        "410": Effect(status=410),
        "403": Effect(status=403, body=b"blocked"),
        "html": Effect(status=200, headers={"Content-Type": "text/html"}, body=b"<html>sign in</html>"),
        "400": Effect(status=400),
    }[name]
    hub.faults.add(Fault(effect, on=EVERYTHING))
    assert keeper.run("upstream", "check").code == 5
    keeper.run("preserve", "--org", "Qwen")
    assert keeper.ok("upstream", "show")["snapshots"] == known


@pytest.mark.parametrize("held", [True, False])
def test_the_next_index_says_so_and_drops_the_dead_web_seed(hub, keeper, tmp_path, held):
    site = tmp_path / "site"
    other = "https://mirror.invalid/{repo}/"
    options = ("--out", site, "--web-seed", other, "--tracker", "udp://t.example:1/announce")

    def entry():
        rows = json.loads((site / "index.json").read_text())["signed"]["entries"]
        return next(row for row in rows if row["repo"] == GOES)

    keeper.ok("publish", *options)
    first = entry()
    dead = [f"{hub.endpoint}/{GOES}/resolve/", f"{hub.endpoint}/api/resolve-cache/models/{GOES}/"]
    assert (first["upstream"], first["web_seeds"]) == ("present", [*dead, f"https://mirror.invalid/{GOES}/"])

    kept = hub.repositories[GOES]
    hub.delete(GOES)
    if not held:
        keeper.ok("remove", GOES, "--yes")
    keeper.ok("upstream", "check")
    assert keeper.ok("publish", *options)["entries"] == 2  # the entry never leaves
    second = entry()
    alive = [f"https://mirror.invalid/{GOES}/"]
    assert (second["upstream"], second["web_seeds"]) == ("gone", alive)
    changed = {"upstream", "web_seeds", "magnet"}
    assert {name for name in first if first[name] != second[name]} == changed
    magnet = parse_magnet(second["magnet"])
    assert magnet.web_seeds == tuple(alive)
    assert magnet.trackers == parse_magnet(first["magnet"]).trackers != ()
    torrent = parse_metainfo((site / second["torrent"]).read_bytes())
    assert torrent.web_seeds == tuple(alive)
    assert keeper.ok("torrent", "show", site / second["torrent"])["signers"][0]["state"] == "valid"
    assert keeper.ok("index", "verify", site / "index.json")["ok"]

    reader = CommandLine(tmp_path / "reader", hub.endpoint)
    reader.ok("trust", "add", keeper.ok("keys", "show")["publisher"], "--index", site)
    assert states(reader.ok("search", "goes")["results"]) == {GOES: "gone"}
    assert "upstream gone" in reader.run("search", "goes").stdout

    hub.repositories[GOES] = kept
    keeper.ok("upstream", "check")
    keeper.ok("publish", *options)
    assert entry() == first
