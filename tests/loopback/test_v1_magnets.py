"""rTorrent loads no link that holds a v2 infohash: every command that shows links has one without."""

from __future__ import annotations

import pytest

from p2pqwen.torrent.magnet import parse_magnet
from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.swarm import REPO, preserve


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keeper")
    user = CommandLine(folder)
    done = preserve(user, folder / "model", small_model(100_000))
    user.ok("keys", "init", "--name", "Keep", "--no-passphrase")
    user.ok(
        "publish",
        "--out",
        folder / "site",
        "--yes",
        "--no-dht",
        "--no-check",
        "--tracker",
        "http://127.0.0.1:9/announce",
    )
    publisher = user.ok("keys", "show")["publisher"]
    user.ok("trust", "add", publisher, "--index", folder / "site")
    return user, folder, done


def commands(keeper):
    user, folder, done = keeper
    again = ("preserve", "--from", folder / "model", "--repo", REPO, "--commit", done["commit"])
    return user, {
        "preserve": again,
        "torrent show": ("torrent", "show", done["torrent"]),
        "search": ("search", REPO),
        "index show": ("index", "show", folder / "site" / "index.json"),
    }


def links(text):
    return [parse_magnet(line[line.index("magnet:?") :]) for line in text.splitlines() if "magnet:?" in line]


@pytest.mark.parametrize("command", ["preserve", "torrent show", "search", "index show"])
def test_the_link_for_v1_clients_is_shown_and_is_the_other_without_btmh(keeper, command):
    user, words = commands(keeper)
    answer = user.ok(*words[command])
    (row,) = answer.get("results") or answer.get("snapshots") or [answer]
    assert "urn:btmh:" in row["magnet"]
    assert parse_magnet(row["magnet_v1"]) == parse_magnet(row["magnet"]).v1_alone
    (alone,) = links(user.run(*words[command], "--v1-magnet").stdout)
    assert alone == parse_magnet(row["magnet_v1"])


@pytest.mark.parametrize("command", ["preserve", "torrent show"])
def test_what_shows_one_torrent_shows_both_links(keeper, command):
    user, words = commands(keeper)
    both, alone = links(user.run(*words[command]).stdout)
    assert alone == both.v1_alone
