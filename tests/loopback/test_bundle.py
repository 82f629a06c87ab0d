"""A published site as a torrent: made alike by everybody, fetched file by file, linked from one version to the next."""

from __future__ import annotations

import pytest

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.index.acceptance import Position, TrustedState, accept
from p2pqwen.index.bundle import INDEX_PATH, check_bundle, wanted_files
from p2pqwen.index.delta import delta_location
from p2pqwen.index.document import INDEX_FILE
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.operations.indexes import bundle
from p2pqwen.operations.indexes.bundle import (
    BundleNetwork,
    fetch_index,
    fetch_torrents,
    keep_index,
    make_bundle,
    trackers_of,
)
from p2pqwen.operations.indexes.bundle_torrents import read_torrent
from p2pqwen.operations.publish.deltas import write_deltas
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import metainfo_from_info
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath
from tests.support.models import noise
from tests.support.publishing import NOW, Publisher, make_entry
from tests.support.swarm import SWITCHED_OFF, seeding_thread
from tests.support.waiting import wait_until

QUIET = SwarmSettings(choices=SWITCHED_OFF)


class Site:
    """A published folder and what is known of its index."""

    def __init__(self, folder, publisher, entries):
        self.folder, self.entries = folder, entries
        data = publisher.publish(entries)
        self.accepted = accept(data, TrustedState(publisher.id), NOW)
        for entry in entries:
            path = folder / entry.torrent
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise(300_000, entry.torrent))
        (folder / INDEX_FILE).write_bytes(data)
        self.data = data


def store_at(folder):
    return BundleStore(Home(folder))


def pointer_of(metainfo, accepted):
    return Pointer.to_bundle(metainfo.infohash, accepted.position, accepted.digest)


def seeding(*bundles):
    """Serve bundles from a session of its own thread; a context that yields its address."""
    return seeding_thread([(held.metainfo(), held.save_path) for held in bundles])


@pytest.fixture
def publisher():
    return Publisher()


@pytest.fixture
def site(tmp_path, publisher):
    return Site(tmp_path / "site", publisher, sorted([make_entry(n) for n in range(3)], key=lambda one: one.id))


def test_everybody_makes_the_same_bundle(tmp_path, site):
    made = [make_bundle(store_at(tmp_path / name), site.accepted, site.folder) for name in ("one", "two")]
    assert made[0][1].infohash == made[1][1].infohash
    held, metainfo = made[0]
    assert metainfo.name == "p2pqwen-index-0.1"
    assert [file.path.text for file in metainfo.files] == sorted(
        [*(entry.torrent for entry in site.entries), INDEX_FILE], key=lambda text: RepoPath(text).sort_key
    )
    assert metainfo.parsed_info.other_keys == ()
    assert held.files_here(held.metainfo()) == {file.path for file in metainfo.files}
    with Swarm(QUIET) as swarm:  # libtorrent reads the same files, and finds every piece good
        torrent = swarm.add_seed(metainfo, held.save_path)
        wait_until(lambda: swarm.pump(0.05) or torrent.checked, 20, "the bundle to be checked")
        assert torrent.have.count(0) == 0


def with_delta(tmp_path, publisher, folder="site"):
    """A site of six entries, then one of seven, with the delta that `publish` writes for it."""
    entries = sorted((make_entry(n) for n in range(7)), key=lambda one: one.id)
    first = Site(tmp_path / folder, publisher, entries[1:])
    second = Site(tmp_path / folder, publisher, entries)
    write_deltas(second.folder, [first.accepted], second.accepted, len(second.data), print)
    return first, second, RepoPath(delta_location(first.accepted.digest))


def test_a_bundle_holds_the_delta_that_leads_to_its_index(tmp_path, publisher):
    _, second, delta = with_delta(tmp_path, publisher)
    (second.folder / "delta" / f"{'0' * 64}.json").write_bytes((second.folder / delta.text).read_bytes())
    (second.folder / "delta" / "notes.json").write_text("{}")
    made = [make_bundle(store_at(tmp_path / name), second.accepted, second.folder) for name in ("one", "two")]
    assert made[0][1].infohash == made[1][1].infohash
    paths = {file.path for file in made[0][1].files}
    assert paths == {INDEX_PATH, delta, *(RepoPath(entry.torrent) for entry in second.entries)}
    assert set(wanted_files(made[0][1].parsed_info)) == paths
    third = Site(tmp_path / "site", publisher, second.entries)  # what is in `delta` leads to the second
    _, metainfo = make_bundle(store_at(tmp_path / "one"), third.accepted, third.folder)
    assert delta not in {file.path for file in metainfo.files}


def test_an_organisation_named_delta_leaves_no_room_for_deltas(tmp_path, publisher):
    entries = sorted((make_entry(n, "Delta/Tiny") for n in range(7)), key=lambda one: one.id)
    first = Site(tmp_path / "site", publisher, entries[1:])
    second = Site(tmp_path / "site", publisher, entries)
    write_deltas(second.folder, [first.accepted], second.accepted, len(second.data), print)
    assert (second.folder / delta_location(first.accepted.digest)).is_file()
    _, metainfo = make_bundle(store_at(tmp_path / "one"), second.accepted, second.folder)
    assert {file.path for file in metainfo.files} == {INDEX_PATH, *(RepoPath(entry.torrent) for entry in entries)}


def test_a_reader_with_an_older_index_takes_the_delta(tmp_path, publisher):
    first, second, delta = with_delta(tmp_path, publisher)
    held, metainfo = make_bundle(store_at(tmp_path / "publisher"), second.accepted, second.folder)
    store, pointer, key = (
        store_at(tmp_path / "follower"),
        pointer_of(metainfo, second.accepted),
        first.accepted.publisher,
    )
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        found = fetch_index(store, key, pointer, network, base=first.accepted.digest)
        assert (found.is_delta, found.file) == (True, delta)
        assert found.data == (second.folder / delta.text).read_bytes()
        other = fetch_index(store, key, pointer, network, base=Sha256.of(b"another index"))
        assert (other.is_delta, other.data) == (False, second.data)


def test_peers_that_have_no_deltas_give_the_index(tmp_path, publisher, monkeypatch):
    """Versions that know no deltas hold the rest of a bundle."""
    monkeypatch.setattr(bundle, "DELTA_SECONDS", 1.0)
    first, second, delta = with_delta(tmp_path, publisher)
    held, metainfo = make_bundle(store_at(tmp_path / "publisher"), second.accepted, second.folder)
    held.path(delta).unlink()
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        store, pointer = store_at(tmp_path / "follower"), pointer_of(metainfo, second.accepted)
        found = fetch_index(store, first.accepted.publisher, pointer, network, base=first.accepted.digest)
    assert (found.is_delta, found.data) == (False, second.data)


def test_another_index_is_another_bundle(tmp_path, site, publisher):
    _, first = make_bundle(store_at(tmp_path / "one"), site.accepted, site.folder)
    second = Site(tmp_path / "site", publisher, site.entries)
    _, metainfo = make_bundle(store_at(tmp_path / "one"), second.accepted, second.folder)
    assert metainfo.infohash != first.infohash


def test_a_follower_takes_the_index_then_only_what_it_needs(tmp_path, site):
    held, metainfo = make_bundle(store_at(tmp_path / "publisher"), site.accepted, site.folder)
    pointer = pointer_of(metainfo, site.accepted)
    store = store_at(tmp_path / "follower")
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        found = fetch_index(store, site.accepted.publisher, pointer, network)
        assert found.data == site.data
        assert found.peers
        assert store.newest(site.accepted.publisher) is None  # nobody has judged it yet
        assert accept(found.data, TrustedState(site.accepted.publisher), NOW).digest == pointer.digest
        assert list((tmp_path / "follower" / "bundles").glob("*/*")) == []  # and nothing of it stays
        keep_index(store, site.accepted.publisher, found)
        mine = store.newest(site.accepted.publisher)
        assert mine.files_here(mine.metainfo()) == {INDEX_PATH}
        assert read_torrent(mine, RepoPath(site.entries[1].torrent)) is None

        wanted = RepoPath(site.entries[1].torrent)
        fetch_torrents(store, mine, [wanted], network)
        assert mine.files_here(mine.metainfo()) == {INDEX_PATH, wanted}
        assert read_torrent(mine, wanted) == noise(300_000, wanted.text)
    assert not (mine.folder / site.entries[0].torrent).exists()


def test_plain_bep_46_is_enough(tmp_path, site):
    held, metainfo = make_bundle(store_at(tmp_path / "publisher"), site.accepted, site.folder)
    pointer = Pointer(metainfo.infohash.v1, None, site.accepted.position, site.accepted.digest)
    with seeding(held) as peer:
        store = store_at(tmp_path / "follower")
        found = fetch_index(store, site.accepted.publisher, pointer, BundleNetwork(QUIET, peers=(peer,)))
    assert found.data == site.data


def test_the_next_version_links_what_did_not_change(tmp_path, site, publisher):
    theirs, mine = store_at(tmp_path / "publisher"), store_at(tmp_path / "follower")
    key = site.accepted.publisher
    held, metainfo = make_bundle(theirs, site.accepted, site.folder)
    every = [RepoPath(entry.torrent) for entry in site.entries]
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        found = fetch_index(mine, key, pointer_of(metainfo, site.accepted), network)
        here = keep_index(mine, key, found)
        fetch_torrents(mine, here, every, network)
    new = make_entry(9)
    second = Site(tmp_path / "site", publisher, sorted([*site.entries, new], key=lambda one: one.id))
    held, metainfo = make_bundle(theirs, second.accepted, second.folder)
    old = theirs.get(key, site.accepted.position)
    for path in every:
        assert held.path(path).samefile(old.path(path))
    told = []
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        found = fetch_index(mine, key, pointer_of(metainfo, second.accepted), network)
        here = keep_index(mine, key, found)
        for path in every:  # linked already, before anything was fetched
            assert here.path(path).samefile(mine.get(key, site.accepted.position).path(path))
        fetch_torrents(mine, here, [*every, RepoPath(new.torrent)], network, told.append)
    assert told[0].done >= 900_000  # what was linked counts as here from the first look
    assert here.path(RepoPath(new.torrent)).read_bytes() == noise(300_000, new.torrent)


def test_a_damaged_file_is_fetched_again(tmp_path, site, publisher):
    theirs, mine = store_at(tmp_path / "publisher"), store_at(tmp_path / "follower")
    key = site.accepted.publisher
    held, metainfo = make_bundle(theirs, site.accepted, site.folder)
    path = RepoPath(site.entries[0].torrent)
    with seeding(held) as peer:
        network = BundleNetwork(QUIET, peers=(peer,))
        found = fetch_index(mine, key, pointer_of(metainfo, site.accepted), network)
        here = keep_index(mine, key, found)
        fetch_torrents(mine, here, [path], network)
        with here.path(path).open("r+b") as file:
            file.seek(1000)
            file.write(b"rot")
        fetch_torrents(mine, here, [path], network)
    assert here.path(path).read_bytes() == noise(300_000, path.text)


def test_the_last_two_are_kept(tmp_path, site, publisher):
    store = store_at(tmp_path / "one")
    for _ in range(4):
        again = Site(tmp_path / "site", publisher, site.entries)
        make_bundle(store, again.accepted, again.folder)
    assert [str(held.position) for held in store.all(again.accepted.publisher)] == ["0.5", "0.4"]
    assert len(list((tmp_path / "one" / "bundles" / str(again.accepted.publisher)).iterdir())) == 4  # two of each


def test_nobody_there(tmp_path, site):
    pointer = Pointer(Sha1(b"1" * 20), Sha256(b"2" * 32), Position(0, 1), site.accepted.digest)
    with pytest.raises(NetworkError, match="metadata of the bundle"):
        fetch_index(
            store_at(tmp_path / "follower"), site.accepted.publisher, pointer, BundleNetwork(QUIET, seconds=0.5)
        )


def test_a_pointer_to_the_bundle_of_another_index_is_refused(tmp_path, site):
    held, metainfo = make_bundle(store_at(tmp_path / "publisher"), site.accepted, site.folder)
    lie = Pointer.to_bundle(metainfo.infohash, Position(0, 7), site.accepted.digest)
    store = store_at(tmp_path / "follower")
    with seeding(held) as peer, pytest.raises(FormatError, match="of another index"):
        fetch_index(store, site.accepted.publisher, lie, BundleNetwork(QUIET, peers=(peer,)))
    assert store.all(site.accepted.publisher) == []


def test_what_is_no_bundle_is_refused(tmp_path, site):
    from p2pqwen.torrent.info import build_info
    from p2pqwen.torrent.layout import Layout
    from tests.strategies import hash_payload

    def info(name, payload):
        layout = Layout.of((path, len(data)) for path, data in payload.items())
        return metainfo_from_info(build_info(name, layout, hash_payload(payload, layout))).parsed_info

    good = {INDEX_PATH: b"{}"}
    check_bundle(info("p2pqwen-index-0.1", good), Position(0, 1))
    for name, payload in (
        ("p2pqwen-index-0.01", good),
        ("p2pqwen-index-0.1.1", good),
        ("a" * 40, good),
        ("p2pqwen-index-0.1", {RepoPath("other.json"): b"{}"}),
        ("p2pqwen-index-0.1", {INDEX_PATH: b"", RepoPath("x"): b"x"}),
    ):
        with pytest.raises(FormatError):
            check_bundle(info(name, payload), Position(0, 1))


def test_the_trackers_of_an_index_are_those_of_its_magnets(publisher, tmp_path):
    from dataclasses import replace

    plain = make_entry(1)
    tracked = [
        replace(entry, magnet=f"{entry.magnet}&tr=http%3A%2F%2Ftracker.example%2F{number}%2Fannounce")
        for number, entry in enumerate(make_entry(n) for n in range(2, 20))
    ]
    site = Site(tmp_path, publisher, sorted([plain, *tracked], key=lambda one: one.id))
    found = trackers_of(site.accepted.document)
    assert len(found) == 8
    assert all(url.startswith("http://tracker.example/") for url in found)
    assert trackers_of(None) == ()


def test_the_infohash_is_that_of_the_info_on_disk(tmp_path, site):
    held, metainfo = make_bundle(store_at(tmp_path / "one"), site.accepted, site.folder)
    assert InfoHash.of(held.info_path.read_bytes()) == metainfo.infohash
