"""`webseed check`: what is said of good, partial, lying and dead bases, and which of them a torrent may list."""

from __future__ import annotations

import pytest

from p2pqwen.hub.hub_site import HubSite
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.webseed.bases import combine_bases
from p2pqwen.webseed.probe import check_bases
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.web_seeds import HASTY, SNAPSHOT, PlainServer, make_torrent, served

REPO = SNAPSHOT.repo.text
FILES = small_model(1_000_000)
SMALL = [name for name in FILES if not name.endswith(".safetensors")]


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        simulator.commit = simulator.add(REPO, write_folder(tmp_path / "src", FILES))
        yield simulator


def torrent_of(hub):
    return make_torrent(FILES, snapshot=type(SNAPSHOT)(SNAPSHOT.repo, hub.commit))


def probe(metainfo, *urls):
    usable = combine_bases(metainfo.name, SNAPSHOT.repo, torrent=urls).usable
    return check_bases(CheckedTorrent.of(metainfo), usable, named=LOOPBACK, timeouts=HASTY)


@pytest.mark.parametrize(
    ("in_cache", "states", "listable"),
    [
        ("missing", (True, False), (True, True)),
        ("right", (True, True), (True, True)),
        ("pointer", (True, False), (True, False)),
        ("short", (True, False), (True, False)),
    ],
)
def test_the_hubs_two_bases_as_the_hub_may_answer_them(hub, in_cache, states, listable):
    hub.lfs_in_cache = in_cache
    probes = probe(torrent_of(hub), *HubSite(hub.endpoint).web_seeds(RepoId(REPO)).all)
    assert tuple(one.ok for one in probes) == states
    assert tuple(one.is_listable for one in probes) == listable
    assert all(file.redirected for file in probes[0].files)
    assert not any(file.redirected for file in probes[1].files)
    assert probes[1].files_ok == (len(FILES) if in_cache == "right" else len(SMALL))


@pytest.mark.parametrize(
    ("fault", "lies", "listable", "words"),
    [
        ("corrupt", True, False, "wrong bytes"),
        ("short", False, False, "a file of 1000 bytes"),
        ("html", False, False, "HTML page"),
        ("404", False, False, "every file: answered 404"),
        ("403", False, False, "403"),
        ("loop", False, False, "circle"),
        ("500", False, False, "500"),
        ("refuse", False, False, "broke off"),
        ("hang", False, False, "no answer"),
        ("no-range", False, True, None),
        ("drip", False, True, None),
    ],
)
def test_what_is_said_of_a_base_with_a_fault(hub, fault, lies, listable, words):
    hub.fault(fault)
    (found,) = probe(torrent_of(hub), f"{hub.endpoint}/{REPO}/resolve/")
    assert found.lies is lies
    assert found.is_listable is listable
    assert found.ok is (words is None)
    assert words is None or words in found.reason


def test_a_server_that_asks_to_wait_is_waited_for(hub):
    hub.fault("429", times=2)
    (found,) = probe(torrent_of(hub), f"{hub.endpoint}/{REPO}/resolve/")
    assert found.ok, found.reason


def test_a_mirror_that_lacks_a_file_is_listable_and_not_ok(hub):
    metainfo = torrent_of(hub)
    without = {name: data for name, data in FILES.items() if name != "config.json"}
    with PlainServer(served(without, metainfo)) as mirror:
        (found,) = probe(metainfo, mirror.url)
    assert (found.ok, found.is_listable, found.files_ok) == (False, True, len(FILES) - 1)
    assert found.reason == "config.json: answered 404"


def test_one_wrong_byte_in_the_first_or_last_piece_is_always_found(hub):
    metainfo = torrent_of(hub)
    for offset in (0, 999_999):
        spoiled = bytearray(FILES["model.safetensors"])
        spoiled[offset] ^= 0x80
        with PlainServer(served({**FILES, "model.safetensors": bytes(spoiled)}, metainfo)) as mirror:
            (found,) = probe(metainfo, mirror.url)
        assert found.lies
        assert "model.safetensors: wrong bytes" in found.reason


def test_only_samples_are_read_of_a_large_file(hub):
    metainfo = torrent_of(hub)
    with PlainServer(served(FILES, metainfo)) as mirror:
        probe(metainfo, mirror.url)
        asked = [one for one in mirror.log if one.path.endswith("/model.safetensors")]
    assert len(asked) == 3  # first, last, one at random


class TestCommand:
    @pytest.fixture
    def user(self, hub, tmp_path):
        user = CommandLine(tmp_path, hub.endpoint)
        user.done = user.ok("preserve", REPO)
        return user

    def test_a_held_snapshot(self, hub, user):
        answer = user.ok("webseed", "check", REPO)
        (base,) = answer["bases"]
        assert base["url"] == f"{hub.endpoint}/{REPO}/resolve/"
        assert (base["ok"], base["files_ok"], base["files_bad"], base["reason"]) == (True, len(FILES), 0, None)

    def test_a_lying_mirror_beside_the_hub_exits_3_and_is_named(self, hub, user):
        spoiled = {name: bytes(len(data)) for name, data in FILES.items()}
        with PlainServer(served(spoiled, torrent_of(hub))) as liar:
            ended = user.run("webseed", "check", user.done["torrent"], "--web-seed", liar.url, "--json")
        assert ended.code == 3
        by_url = {base["url"]: base for base in ended.json["bases"]}
        assert by_url[liar.url]["ok"] is False
        assert by_url[liar.url]["wrong_bytes"] is True
        assert by_url[f"{hub.endpoint}/{REPO}/resolve/"]["ok"] is True

    def test_a_dead_hub_exits_5(self, hub, user):
        hub.close()
        ended = user.run("webseed", "check", REPO, "--json")
        assert ended.code == 5
        assert "cannot be reached" in ended.json["bases"][0]["reason"]
        assert ended.json["bases"][0]["files_bad"] == len(FILES)

    def test_for_people(self, hub, user):
        ended = user.run("webseed", "check", REPO)
        assert ended.code == 0
        assert "works" in ended.stdout
        assert f"{len(FILES)} of {len(FILES)} files right" in ended.stdout

    def test_a_bad_base_on_the_command_line_exits_2(self, user):
        ended = user.run("webseed", "check", REPO, "--web-seed", "ftp://m.example/")
        assert ended.code == 2
        assert "ftp://m.example/" in ended.stderr

    def test_what_nobody_knows_exits_4(self, user):
        assert user.run("webseed", "check", "Qwen/Unknown").code == 4
