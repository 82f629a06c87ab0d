"""Bit rot: found by a scrub that resumes, repaired from another peer, and never written through a shared link."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.app import App
from p2pqwen.config.load import load
from p2pqwen.events import Notice
from p2pqwen.library.verified import VerifiedFiles
from p2pqwen.operations.verify.scrub import ScrubStoppedError
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.archive import archive, node_of
from tests.support.models import noise
from tests.support.nodes import row
from tests.support.preserved import COMMITS, REPO, Preserver, in_cache, small_model, tree
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
CONFIG = '[network]\ndht = false\nlsd = false\nupnp = false\ntrackers = false\nweb_seeds = "never"\n'


def flip(path, offset):
    """Flip a bit as a disk would: nothing about the file but its content changes."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 8]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def preserver(tmp_path):
    keeper = Preserver(tmp_path)
    keeper.preserve(small_model())
    return keeper


@pytest.fixture
def user(preserver):
    """A user whose library shares every byte with the Hugging Face cache."""
    user = preserver.trusted_by("user")
    (user.home / "config.toml").write_text(CONFIG)
    in_cache(user, small_model())
    assert user.ok("library", "import")["imported"][0]["state"] == "complete"
    return user


@pytest.fixture
def scrubbing(user):
    app = App(load(user.environment))
    events = []
    with app.state_store(pytest.fail) as store:
        yield app.scrubber(store, events.append), app.library.all()[0], events


def held(user):
    return user.home / "library" / REPO / COMMITS[0]


def rot_and_health(user):
    found = user.run("doctor", "--json").json["findings"]
    rot = next(one for one in found if one["check"] == "rot")
    (shown,) = user.ok("status", "--once")["snapshots"]
    return rot["ok"], rot["detail"], shown["health"]


def test_doctor_status_and_verify_say_the_same(user):
    weights = held(user) / "model.safetensors"
    assert rot_and_health(user)[::2] == (True, "good")
    with weights.open("r+b") as file:
        file.write(b"spoilt")
    ok, detail, health = rot_and_health(user)
    assert (ok, health) == (False, "changed")
    assert "1 snapshot changed since verification" in detail
    content = small_model()["model.safetensors"]
    flipped = bytes([content[0] ^ 8]) + content[1:]
    weights.write_bytes(flipped)
    assert user.run("verify", REPO).code == 3
    ok, detail, health = rot_and_health(user)
    assert (ok, health) == (False, "damaged")
    assert "1 snapshot damaged" in detail
    weights.write_bytes(content)
    assert user.ok("verify", REPO)["ok"] is True
    assert rot_and_health(user)[::2] == (True, "good")


@pytest.mark.parametrize("shared", [True, False])
def test_a_flipped_bit_is_found_and_repaired_from_a_peer(preserver, user, shared):
    weights = held(user) / "model.safetensors"
    if not shared:
        content = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(content)
    flip(weights, 1_234_567)
    cache = tree(user.cache)
    ended = user.run("library", "scrub", "--all", "--json")
    assert ended.code == 3
    (bad,) = ended.json["scrubbed"][0]["bad"]
    assert (bad["path"], len(bad["pieces"])) == ("model.safetensors", 1)
    nobody = user.run("verify", REPO, "--repair", "--timeout", "2", "--json")
    assert nobody.code == 5
    assert tree(user.cache) == cache
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), preserver.user.environment) as seeder:
        port = seeder.json_line(30, containing='"listening"')["port"]
        seeder.line(30, containing='"seeding"')
        done = user.ok("verify", REPO, "--repair", "--peer", f"127.0.0.1:{port}")
    assert done["ok"]
    assert done["repaired"]["files"] == ["model.safetensors"]
    assert 0 < done["repaired"]["bytes_from_peers"] <= 262_144
    assert tree(held(user)) == small_model()
    assert user.ok("list")["snapshots"][0]["state"] == "complete"
    # The cache held this snapshot: where it shared the rotten bytes it has good ones now, by rename.
    assert (
        weights.read_bytes()
        == (user.cache / "models--Qwen--Tiny" / "snapshots" / COMMITS[0] / weights.name).read_bytes()
    )
    scrubbed = user.ok("library", "scrub", "--all")["scrubbed"][0]
    assert (scrubbed["bad"], scrubbed["files"]) == ([], len(small_model()))


def test_a_flipped_bit_in_the_torrent_is_found_and_nothing_of_it_is_believed(user):
    """In the comment, which no hash and no signature covers, any more than web seeds."""
    torrent = held(user).with_name(f"{COMMITS[0]}.torrent")
    flip(torrent, torrent.read_bytes().index(b"7:comment") + 14)
    ended = user.run("library", "scrub", "--all", "--json")
    assert (ended.code, [bad["path"] for bad in ended.json["scrubbed"][0]["bad"]]) == (3, [torrent.name])
    found = user.run("verify", REPO, "--json")
    assert (found.code, [bad["path"] for bad in found.json["bad"]]) == (3, [torrent.name])
    assert user.ok("verify", REPO, "--repair", "--timeout", "5")["ok"]  # every piece is held: no peer is needed
    assert parse_metainfo(torrent.read_bytes()).comment is None
    assert user.ok("library", "scrub", "--all")["scrubbed"][0]["bad"] == []


def test_a_scrub_stops_anywhere_and_goes_on_where_it_was(scrubbing, user):
    scrubber, one, _ = scrubbing
    read = 0

    def after(limit):
        def count(size):
            nonlocal read
            read += size

        return count, lambda: read > limit

    on_bytes, stopping = after(100)
    with pytest.raises(ScrubStoppedError):
        scrubber.scrub(one, on_bytes=on_bytes, stopping=stopping)
    before = scrubber.record(one.id)
    assert before.read
    assert before.finished is None
    assert [held.id for held in scrubber.due()] == [one.id]  # begun, so it is due
    done = scrubber.scrub(one)
    assert done.bytes < sum(map(len, small_model().values()))
    assert scrubber.record(one.id).finished is not None
    assert scrubber.due() == []


def test_a_pass_that_stops_before_its_first_file_keeps_what_the_last_one_found(scrubbing, user):
    scrubber, one, _ = scrubbing
    flip(held(user) / "model.safetensors", 100)
    assert scrubber.scrub(one).damage
    found = scrubber.record(one.id)
    with pytest.raises(ScrubStoppedError):
        scrubber.scrub(one, stopping=lambda: True)
    assert scrubber.record(one.id) == found


def test_a_pass_is_recorded_now_and_then_and_not_for_each_file(scrubbing, monkeypatch):
    """The record has the path of each file that was read: with 10,000 files, each record would list thousands."""
    scrubber, one, _ = scrubbing
    records = []
    monkeypatch.setattr("p2pqwen.operations.verify.scrub.REMEMBER_EVERY", 3600.0)
    monkeypatch.setattr(type(scrubber), "_remember", lambda self, snapshot, record: records.append(len(record.read)))
    files = scrubber.scrub(one).files
    assert files > 2
    assert records == [1, 0]  # the first file, and the end of the pass


def test_the_schedule(scrubbing):
    scrubber, one, _ = scrubbing
    arrived = datetime.now(UTC)
    scrubber.now = lambda: arrived + timedelta(days=29)
    assert scrubber.due() == []
    scrubber.now = lambda: arrived + timedelta(days=31)
    assert [held.id for held in scrubber.due()] == [one.id]
    scrubber.scrub(one)
    assert scrubber.due() == []
    scrubber.now = lambda: arrived - timedelta(days=400)  # a clock that was wrong then or is now
    assert [held.id for held in scrubber.due()] == [one.id]


@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: os.truncate(path, 1000), "1000 bytes"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "3000001 bytes"),
        (lambda path: path.write_bytes(noise(3_000_000, "another model")), "pieces root"),
    ],
)
def test_every_kind_of_damage_is_found(scrubbing, user, spoil, got):
    scrubber, one, events = scrubbing
    spoil(held(user) / "model.safetensors")
    (bad,) = scrubber.scrub(one).damage
    assert bad.path == "model.safetensors"
    assert len(bad.pieces) == 12
    assert got in bad.got
    assert any(isinstance(event, Notice) and "model.safetensors" in event.text for event in events)
    assert scrubber.record(one.id).damage == (bad,)
    assert user.run("verify", REPO).code == 3


@contextlib.contextmanager
def fetched_from_a_seed(tmp_path):
    """A user who has fetched a model, which repository it is of, and the user's node; the seed goes on."""
    with archive(tmp_path, [3_000_000]) as made, node_of(made.publisher.user) as seeder:
        seeder.line(60, containing='"seeding"')
        user = made.person("user")
        repo = next(iter(made.sizes))
        user.ok("fetch", repo, "--no-hf-cache")
        yield user, repo, App(load(user.environment))


def test_a_node_finds_rot_by_itself_and_mends_it_from_the_swarm(tmp_path):
    """A month after it came a bit has turned; nobody says a word to the node, and the swarm is found by a tracker."""
    with fetched_from_a_seed(tmp_path) as (user, repo, app):
        (one,) = app.library.all()
        right = tree(one.folder)
        flip(one.folder / "model.bin", 1_234_567)
        metainfo = one.metainfo()
        # A disk that rots changes no time, which a test cannot do: so it is noted as it looks now.
        VerifiedFiles(app.home).record(one.id, metainfo.infohash.v2, one.folder, [file.path for file in metainfo.files])
        long_ago = (datetime.now(UTC) - timedelta(days=31)).timestamp()
        os.utime(one.torrent_path, (long_ago, long_ago))
        with node_of(user) as process:
            found = process.json_line(60, containing='"rot"')
            assert (found["path"], found["pieces"]) == ("model.bin", 1)
            assert process.json_line(90, containing='"mended"')["commit"] == str(one.id.commit)
            wait_until(lambda: row(user, str(one.id.commit)).get("health") == "good", 30, "the repaired snapshot")
            with app.state_store(pytest.fail) as store:
                assert app.scrubber(store, pytest.fail).record(one.id).damage == ()
        assert tree(one.folder) == right
        assert user.ok("verify", repo)["ok"]


def test_what_another_program_finds_damaged_a_running_node_mends(tmp_path):
    with fetched_from_a_seed(tmp_path) as (user, repo, app):
        (one,) = app.library.all()
        right = tree(one.folder)
        with node_of(user) as process:
            process.line(60, containing='"seeding"')
            flip(one.folder / "model.bin", 1_234_567)
            assert user.run("library", "scrub", repo).code == 3
            process.line(90, containing='"mended"')
        assert tree(one.folder) == right
