"""Attacks 95, 96, 100 and 103: one bad publisher, entry, torrent or web seed, and what becomes of all the others."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from p2pqwen.errors import NotFoundError, VerificationError
from p2pqwen.events import Event, Notice
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library, seal_of
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.archive.bulk_survey import wanted_repos
from p2pqwen.operations.archive.watched import watched_swarms
from p2pqwen.operations.indexes.update import Asked, update_all
from p2pqwen.operations.publish.keys import init_keys
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.snapshot_torrent import check_recipe
from p2pqwen.values.snapshot_id import Owner, RepoId, SnapshotId
from p2pqwen.webseed.bases import Base, NamedBy
from p2pqwen.webseed.file_server import FileServer
from p2pqwen.webseed.offered_file import Offer
from p2pqwen.webseed.probe import Served, check_bases
from p2pqwen.webseed.relay import Relay
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine
from tests.support.models import noise, write_folder
from tests.support.publishing import NOW, Publisher, Rules, chain, digest, keyid, make_entry, make_index
from tests.support.snapshots import hold
from tests.support.web_seeds import HASTY, PIECE, SNAPSHOT, bases, fetching, make_torrent

OTHER = Rules(root=("root2",), index=("index2",))
NOWHERE = "https://example.org:99999/Qwen/Tiny/resolve/"


def bad_web_seed() -> dict[str, Any]:
    row = make_entry(1).to_json()
    (seed,) = row["web_seeds"]
    return {
        "entries": [
            {**row, "web_seeds": [NOWHERE], "magnet": row["magnet"].replace(quote(seed, ""), quote(NOWHERE, ""))}
        ]
    }


MISTAKES = {
    "salt": lambda: {"dht": {"key": str(keyid("index2")), "salt": "é" * 64}},
    "salt of one byte more": lambda: {"dht": {"key": str(keyid("index2")), "salt": "é" * 32 + "x"}},
    "web seed": bad_web_seed,
    "mirror": lambda: {"mirrors": ["https://example.org:65536/"]},
    "port zero": lambda: {"mirrors": ["https://example.org:0/"]},
}


@pytest.fixture
def user(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def two(user: CommandLine, tmp_path: Path) -> tuple[Publisher, Publisher]:
    """A publisher who will do harm, and a good one; the user trusts both, from files."""
    hostile, good = Publisher(chain(OTHER)), Publisher()
    for name, one, signer in (("hostile", hostile, "index2"), ("good", good, "index")):
        (tmp_path / f"{name}.json").write_bytes(one.publish([make_entry(1)], [signer]))
        user.ok("trust", "add", str(one.id), "--index", tmp_path / f"{name}.json")
    return hostile, good


@pytest.mark.parametrize("mistake", MISTAKES)
def test_95_an_index_that_breaks_a_limit_is_refused_and_others_are_updated(two, user, tmp_path, mistake):
    hostile, good = two
    assert hostile.last is not None
    signed = {**hostile.last.to_json(), "version": 2, "previous": str(digest(hostile.last)), **MISTAKES[mistake]()}
    (tmp_path / "hostile.json").write_bytes(make_index(hostile.roots, signed, ["index2"]))
    for version in (2, 3):
        (tmp_path / "good.json").write_bytes(good.publish([make_entry(version)]))
        rows = {row["publisher"]: row for row in user.ok("index", "update")["publishers"]}
        assert rows[str(good.id)]["version"] == version
        (source,) = rows[str(hostile.id)]["sources"]
        assert (source["state"], source["step"], rows[str(hostile.id)]["version"]) == ("refused", 7, 1)
    user.ok("health", "--no-dht", "--no-web-seeds")  # no tracker is named, so nobody is asked
    user.ok("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_95_an_index_of_before_the_limit_stops_nothing(two, user, tmp_path, mistake):
    """A home that took it when nobody counted bytes: it is told, not used, and everything else goes on."""
    hostile, good = two
    assert hostile.last is not None
    store = TrustStore(Home(user.home))
    signed = {**hostile.last.to_json(), **MISTAKES[mistake]()}
    store.index_path(hostile.id).write_bytes(make_index(hostile.roots, signed, ["index2"]))
    (tmp_path / "good.json").write_bytes(good.publish([make_entry(2)]))
    commands = [
        ("index", "update"),
        ("health", "--no-dht", "--no-web-seeds"),
        ("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0"),
        ("search",),
        ("trust", "list"),
    ]
    for command in commands:
        ended = user.run(*command, "--json")
        assert ended.code == 0, (command, ended)
    assert store.get(good.id, now=NOW).document == good.last


class BrokenRoute:
    """A way to bundles that an answer brings to a fault of ours."""

    unfinished: tuple[str, ...] = ()

    def indexes(self, *_: object) -> object:
        raise KeyError("nobody thought of this")

    def settle(self, _: object) -> None:
        """Nothing to keep."""


def test_96_a_fault_on_one_publishers_way_leaves_the_others_alone(two, user, tmp_path):
    hostile, good = two
    (tmp_path / "good.json").write_bytes(good.publish([make_entry(2)]))
    store = TrustStore(Home(user.home))
    asked = [Asked(store.get(one.id, now=NOW), BrokenRoute() if one is hostile else None) for one in (hostile, good)]
    by_id = {one.publisher.publisher: one for one in update_all(store, asked, now=NOW)}
    assert by_id[good.id].changed
    assert [row.state for row in by_id[hostile.id].sources] == ["unchanged", "unreachable"]


@pytest.mark.parametrize("kind", ["a file", "a loop"])
def test_117_what_is_no_publisher_among_the_trusted_stops_no_update(two, user, tmp_path, kind):
    _, good = two
    (tmp_path / "good.json").write_bytes(good.publish([make_entry(2)]))
    stray = Home(user.home).trust / ("ab" * 32)
    if kind == "a file":
        stray.write_text("")
    else:
        stray.symlink_to(stray)
    rows = {row["publisher"]: row for row in user.ok("index", "update")["publishers"]}
    assert rows[str(good.id)]["version"] == 2


@pytest.mark.parametrize("name", ["folders.json", "node.json", "peers.json", "choices.json", "verified"])
def test_117_a_file_of_the_home_that_is_nested_too_deep_is_one_that_makes_no_sense(user, name):
    home = Home(user.home)
    held = hold(home)
    user.ok("verify", str(held.id))
    paths = list(home.verified.iterdir()) if name == "verified" else [home.root / name]
    assert paths
    for path in paths:
        path.write_bytes(b"[" * 200_000)
    for command in (("list",), ("status",), ("verify", str(held.id)), ("library", "scrub", "--all")):
        assert user.run(*command, "--json").code == 0, command


STRAYS = {
    "a loop beside organisations": lambda library, _: (library / "loop").symlink_to("loop"),
    "a loop beside models": lambda library, _: (library / "Qwen" / "loop").symlink_to("loop"),
    "a marker that is a folder": lambda _, torrent: torrent.with_suffix(".partial").mkdir(),
    "a marker that is a loop": lambda _, torrent: torrent.with_suffix(".partial").symlink_to(f"{torrent.stem}.partial"),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_118_what_cannot_be_looked_at_in_a_library_hides_nothing_beside_it(user, stray):
    home = Home(user.home)
    good, bad = hold(home), hold(home, {"a": b"a" * 5000}, "Qwen/Broken")
    STRAYS[stray](home.library, bad.torrent_path)
    for command in ("list", "status"):
        rows = {row["repo"]: row for row in user.ok(command)["snapshots"]}
        assert rows.keys() == {"Qwen/Tiny", "Qwen/Broken"}
    assert user.ok("verify", str(good.id))["ok"]


def test_96_a_publisher_that_cannot_be_stored_is_told_after_the_others_were(two, user, tmp_path, monkeypatch):
    hostile, good = two
    for one, name, signer in ((hostile, "hostile", "index2"), (good, "good", "index")):
        (tmp_path / f"{name}.json").write_bytes(one.publish([make_entry(2)], [signer]))
    store = TrustStore(Home(user.home))
    whole = TrustStore.store

    def full(self, accepted, data, *, now, **more):
        if accepted.publisher == hostile.id:
            raise OSError(28, "No space left on device")
        return whole(self, accepted, data, now=now, **more)

    monkeypatch.setattr(TrustStore, "store", full)
    with pytest.raises(Exception, match="No space left"):
        update_all(store, [Asked(store.get(one.id, now=NOW)) for one in (hostile, good)], now=NOW)
    assert store.get(good.id, now=NOW).document == good.last


def strangers_torrent(home: Home) -> SnapshotId:
    """A snapshot whose torrent is in order, but none of recipe 1: another piece length."""
    held = hold(home, {"w.bin": b"w" * 300_000}, "Qwen/Stranger")
    metainfo = held.metainfo()
    other = make_torrent({"w.bin": b"w" * 300_000}, piece_length=65536, snapshot=held.id)
    held.torrent_path.write_bytes(replace(other, manifest=metainfo.manifest).encode())
    seal_of(held.torrent_path).unlink(missing_ok=True)
    with pytest.raises(VerificationError):
        check_recipe(Library(home).all()[0].metainfo())
    return held.id


def test_96_a_torrent_that_cannot_be_published_stops_no_publishing(tmp_path):
    home = Home(tmp_path / "home")
    init_keys(KeyStore(home), "Test Keep", None)
    stranger = strangers_torrent(home)
    good = hold(home)
    notices: list[Event] = []
    plan = Plan(out=tmp_path / "site", site=HubSite("https://huggingface.co"))
    done = publish(
        Library(home), KeyStore(home), plan, passphrase=lambda _: "", now=NOW, check=None, report=notices.append
    )
    assert [entry.id for entry in done.accepted.document.entries] == [good.id]
    assert [one for one, _ in done.skipped] == [stranger]
    assert any(isinstance(one, Notice) and f"{stranger} is not published" in one.text for one in notices)


def test_96_a_torrent_that_cannot_be_read_is_told_everywhere_and_stops_nothing(user):
    home = Home(user.home)
    good, bad = hold(home), hold(home, {"a": b"a" * 5000}, "Qwen/Broken")
    bad.torrent_path.write_bytes(bad.torrent_path.read_bytes()[:-7])
    listed = user.run("list", "--json")
    assert (listed.code, [row["repo"] for row in listed.json["snapshots"]]) == (0, ["Qwen/Tiny"])
    assert {row["repo"] for row in user.ok("status")["snapshots"]} == {"Qwen/Tiny", "Qwen/Broken"}
    assert [one.snapshot for one in watched_swarms(Library(home), (), ())] == [good.id]
    scrubbed = user.run("library", "scrub", "--all", "--json")
    assert scrubbed.code == 3
    assert [row["repo"] for row in scrubbed.json["scrubbed"]] == ["Qwen/Tiny"]
    assert [(row["repo"], "cut short" in row["reason"]) for row in scrubbed.json["failed"]] == [("Qwen/Broken", True)]


@contextmanager
def answering(location: str, date: str | None = None) -> Iterator[str]:
    """A web seed whose every answer is a redirect to this, made at a date of its own."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return date or super().date_time_string(timestamp)

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


NOWHERES = ["http://[x/", "http://[::::]:99999/", "http://a:99999/", "//[", "http://" + "a" * 70 + ".example/"]


@pytest.mark.parametrize("location", NOWHERES)
def test_103_a_web_seed_whose_answer_nobody_understands_does_not_stop_the_next(tmp_path, location):
    require_that_the_next_is_asked(tmp_path, location)


def test_168_a_web_seed_with_a_date_that_no_clock_shows_does_not_stop_the_next(tmp_path):
    """It redirects to an address whose signature is said to end some time after that date."""
    date = "Fri, 31 Dec 9999 23:59:59 GMT"
    require_that_the_next_is_asked(tmp_path, "http://127.0.0.1:9/x?Expires=99999999999", date)


def require_that_the_next_is_asked(tmp_path, location, date=None):
    files = {"model.safetensors": noise(3 * PIECE, "weights")}
    torrent = make_torrent(files)
    folder = write_folder(tmp_path / torrent.name, files)
    with FileServer("127.0.0.1", 0) as server, answering(location, date) as hostile:
        server.offer(Offer.of(SNAPSHOT, folder, torrent))
        urls = (hostile, f"http://127.0.0.1:{server.port}/Qwen/Tiny/")
        found = check_bases(CheckedTorrent.of(torrent), [Base(url, NamedBy.COMMAND_LINE, torrent.name) for url in urls])
        assert [[file.served for file in one.files] for one in found] == [[Served.BAD], [Served.RIGHT]]
        with Relay(named=LOOPBACK, timeouts=HASTY) as relay:
            offered = relay.offer(torrent, bases(torrent, *urls))
            with fetching(torrent, tmp_path / "dst", offered.urls) as download:
                assert download.wait(60), (offered.accounts, download.alerts[-20:])
                assert download.files == files


def test_100_deleting_the_state_sets_nothing_free(user):
    """Pins and the quota come back, and the next command says what happened."""
    held = hold(Home(user.home))
    user.ok("pin", "Qwen/Tiny")
    user.ok("limits", "--monthly-upload", "5GB", "--upload", "1MB/s")
    for path in user.home.glob("state.sqlite*"):
        path.unlink()
    ended = user.run("limits", "--json")
    assert "was missing and is new" in ended.stderr
    assert (ended.json["monthly_upload"], ended.json["upload"]) == (5_000_000_000, 1_000_000)
    removed = user.run("remove", "Qwen/Tiny", "--yes")
    assert (removed.code, "is pinned" in removed.stderr) == (1, True)
    assert "was missing and is new" not in removed.stderr
    assert held.torrent_path.exists()


class Organisations:
    """A Hub with one organisation."""

    def repos(self, owner: Owner) -> list[Listed]:
        return [Listed(RepoId("Qwen/Tiny"))] if owner == Owner("Qwen") else []


@dataclass(frozen=True)
class Listed:
    repo: RepoId
    license: str | None = None


def test_96_an_organisation_that_is_gone_does_not_stop_the_watch_of_the_others():
    notices: list[Any] = []
    wanted = wanted_repos(None, [Owner("Gone"), Owner("Qwen"), Owner("Gone2")], Organisations(), notices.append)
    assert [one.repo.text for one in wanted.repos] == ["Qwen/Tiny"]
    assert wanted.whole_orgs == {Owner("Qwen")}
    assert [one.text for one in notices] == [f"{org}: the Hub shows no models of {org}" for org in ("Gone", "Gone2")]
    with pytest.raises(NotFoundError, match="no models of Gone"):
        wanted_repos(None, [Owner("Gone")], Organisations(), notices.append)
