"""`publish` lists the web seeds that pass the check, tries both bases of the Hub, and says what it leaves out."""

from __future__ import annotations

import json

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.webseed import probe
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.web_seeds import PlainServer

REPO = "Qwen/Tiny"
FILES = small_model(1_000_000)
NO_ROUTE = "https://mirror.invalid/"  # a name that is never given out (RFC 6761)


class World:
    def __init__(self, hub, folder):
        self.hub, self.site = hub, folder / "site"
        self.commit = str(hub.add(REPO, write_folder(folder / "src", FILES)))
        self.publisher = CommandLine(folder, hub.endpoint)
        self.publisher.ok("keys", "init", "--name", "Test Keep", "--no-passphrase")
        self.publisher.ok("preserve", REPO)
        self.hub_base = f"{hub.endpoint}/{REPO}/resolve/"
        self.cache_base = f"{hub.endpoint}/api/resolve-cache/models/{REPO}/"

    def mirror(self, files=FILES, answer=None):
        return PlainServer({f"{self.commit}/{name}": data for name, data in files.items()}, answer)

    def publish(self, *options):
        ended = self.publisher.run("publish", "--out", self.site, *options, "--json")
        assert ended.code == 0, ended
        return ended

    @property
    def listed(self):
        """The web seeds of the index; the torrent and the magnet link name the same."""
        (entry,) = json.loads((self.site / "index.json").read_text())["signed"]["entries"]
        torrent = parse_metainfo((self.site / entry["torrent"]).read_bytes())
        assert list(torrent.web_seeds) == entry["web_seeds"]
        assert entry["magnet"].count("&ws=") == len(entry["web_seeds"])
        return entry["web_seeds"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "PAUSE", 0.02)  # what is asked again is asked as often
    with HubSimulator(tokens=["hf_secret"]) as hub:
        yield World(hub, tmp_path)


@pytest.mark.parametrize(
    ("in_cache", "second"), [("missing", True), ("right", True), ("pointer", False), ("short", False)]
)
def test_the_hubs_second_base_is_listed_where_it_helps_and_does_no_harm(world, in_cache, second):
    world.hub.lfs_in_cache = in_cache
    done = world.publish()
    assert world.listed == [world.hub_base, world.cache_base][: 2 if second else 1]
    left_out = [row["url"] for row in done.json["web_seeds_left_out"]]
    assert left_out == ([] if second else [world.cache_base])
    assert "warning: web seed" not in done.stderr


@pytest.mark.parametrize(
    ("fault", "words"),
    [("corrupt", "wrong bytes"), ("html", "HTML page"), ("loop", "circle"), ("403", "403"), ("gone", "404")],
)
def test_a_hub_that_fails_is_not_listed_and_a_mirror_that_works_is(world, fault, words):
    world.hub.fault(fault)
    with world.mirror() as mirror:
        done = world.publish("--web-seed", mirror.url)
        assert world.listed == [mirror.url]
    hub = done.json["web_seeds_left_out"][0]
    assert (hub["repo"], hub["commit"], hub["url"]) == (REPO, world.commit, world.hub_base)
    assert words in hub["reason"]
    assert "warning: web seed" in done.stderr
    assert words in done.stderr


def test_a_mirror_that_lies_in_one_byte_of_its_last_piece_or_is_not_there_is_not_listed(world):
    spoiled = bytearray(FILES["model.safetensors"])
    spoiled[-1] ^= 1
    with world.mirror({**FILES, "model.safetensors": bytes(spoiled)}) as liar:
        done = world.publish("--web-seed", liar.url, "--web-seed", "http://127.0.0.1:9/")
    assert world.listed == [world.hub_base, world.cache_base]
    reasons = {row["url"]: row["reason"] for row in done.json["web_seeds_left_out"]}
    assert "model.safetensors: wrong bytes" in reasons[liar.url]
    assert "cannot be reached" in reasons["http://127.0.0.1:9/"]


def test_where_there_is_no_way_to_a_base_nothing_was_checked_and_that_is_said(world):
    done = world.publish("--web-seed", NO_ROUTE)
    assert NO_ROUTE in world.listed
    assert f"web seed {NO_ROUTE} is listed unchecked" in done.stderr


def test_a_base_that_is_named_twice_is_listed_once(world):
    world.publish("--web-seed", world.hub_base, "--web-seed", f"{world.hub.endpoint}/{{repo}}/resolve/")
    assert world.listed == [world.hub_base, world.cache_base]


def test_no_check_asks_nobody(world):
    world.hub.log.clear()
    world.publish("--no-check", "--web-seed", "http://127.0.0.1:9/{repo}/")
    assert world.listed == [world.hub_base, f"http://127.0.0.1:9/{REPO}/"]
    assert not world.hub.log


def test_a_base_is_asked_as_a_stranger_would(world):
    world.hub.repositories[REPO].gated = "manual"
    world.hub.log.clear()
    world.publisher.environment["HF_TOKEN"] = "hf_secret"
    world.publish()
    assert world.listed == []
    assert world.hub.log
    assert not [call for call in world.hub.log if call.authorization]


def test_publishing_again_asks_for_little_and_keeps_what_is_only_down(world):
    with world.mirror() as mirror:
        world.publish("--web-seed", mirror.url)
        everything = [world.hub_base, world.cache_base, mirror.url]
        assert world.listed == everything
        mirror.log.clear()
        world.publish("--web-seed", mirror.url)
        assert len(mirror.log) == 3  # a small file, and the first and last piece of an LFS file
        world.hub.fault("500")
        world.publish("--web-seed", mirror.url)
        assert world.listed == everything
    world.publish("--web-seed", mirror.url)  # closed
    assert world.listed == everything


def test_publishing_again_drops_what_went_wrong_since(world):
    world.publish()
    world.hub.lfs_in_cache = "pointer"
    world.publish()
    assert world.listed == [world.hub_base]
    world.hub.fault("corrupt")
    done = world.publish()
    assert world.listed == []
    assert "wrong bytes" in done.stderr
