"""Several library folders: which one a snapshot goes to, and what is known of a disk that is not connected."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError, NotFoundError, UsageError
from p2pqwen.library import folders, space
from p2pqwen.library.folders import ID_FILE, AwayError, LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.verified import Look, Verified
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.snapshots import FILES, make_snapshot

REPO = RepoId("Qwen/Demo")
FIRST = SnapshotId(REPO, CommitId(b"\x01" * 20))
SECOND = SnapshotId(REPO, CommitId(b"\x02" * 20))
NOTHING = Verified(Sha256(bytes(32)), {})
TORRENT = CheckedTorrent.of(make_snapshot({"config.json": b"{}"}))
STAGED = Verified(Sha256(bytes(32)), {RepoPath("config.json"): Look(2, 1, 1, 1)})


@pytest.fixture
def disks(tmp_path, monkeypatch):
    """Two further folders, each "a disk" of its own with as much free as the test says."""
    free = {"home": 1000, "a": 1000, "b": 1000}

    def disk(path):
        return next(part for part in path.relative_to(tmp_path).parts if part in free)

    monkeypatch.setattr(folders, "free_space", lambda path: free[disk(path)])
    monkeypatch.setattr(folders, "device", lambda path: list(free).index(disk(path)))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return free


def library_of(tmp_path, **reserves):
    more = [LibraryFolder(tmp_path / name, reserves.get(name, 0)) for name in ("a", "b")]
    return Library(Home(tmp_path / "home"), more, reserve=reserves.get("home", 0))


def hold(library, snapshot, size=1):
    (library.stage(snapshot, lambda _: size) / "config.json").write_bytes(b"{}")
    return library.install(snapshot, TORRENT, STAGED)


@pytest.mark.parametrize(
    ("free", "reserves", "needed", "beside", "chosen"),
    [
        ({}, {}, 10, None, "home"),  # all alike: the first
        ({"b": 2000}, {}, 10, None, "b"),  # the most room
        ({"b": 2000}, {"b": 1500}, 10, None, "home"),  # beyond the reserve
        ({"b": 2000}, {}, 10, "a", "a"),  # where the Hugging Face cache can share
        ({"b": 2000, "a": 5}, {}, 10, "a", "b"),  # but not where there is no room
        ({"home": 9, "a": 9, "b": 10}, {}, 10, None, "b"),
        ({"home": 9, "a": 9, "b": 10}, {"b": 1}, 10, None, None),
    ],
)
def test_a_snapshot_goes_where_there_is_room(disks, tmp_path, free, reserves, needed, beside, chosen):
    disks.update(free)
    library = library_of(tmp_path, **reserves)
    if chosen is None:
        with pytest.raises(DiskError, match="no library folder has room"):
            library.stage(FIRST, lambda _: needed)
        return
    staged = library.stage(FIRST, lambda _: needed, beside=None if beside is None else tmp_path / beside)
    assert staged.is_relative_to(tmp_path / chosen)
    disks[chosen] = 0
    assert library.stage(FIRST, lambda _: needed) == staged  # what was begun stays where it is


def test_links_are_worth_more_than_room(disks, tmp_path):
    disks["b"] = 5000
    library = library_of(tmp_path)
    needed = folders.bytes_to_write([(900, tmp_path / "a" / "twin"), (100, None)])
    assert [needed(tmp_path / name) for name in ("home", "a", "b")] == [1000, 100, 1000]
    assert library.stage(FIRST, needed).is_relative_to(tmp_path / "a")


def test_room_is_counted_once_for_each_disk(disks, tmp_path):
    disks.update(home=100, a=200, b=400)
    assert library_of(tmp_path, b=50).room == 650
    twin = tmp_path / "a" / "twin"
    twin.mkdir()
    library = Library(Home(tmp_path / "home"), [LibraryFolder(tmp_path / "a", 50), LibraryFolder(twin, 20)], reserve=0)
    assert library.room == 100 + 180


def on_a(disks, tmp_path):
    disks.update(home=0, a=1000, b=0)
    library = library_of(tmp_path)
    held = hold(library, FIRST)
    assert held.folder.is_relative_to(tmp_path / "a")
    assert (tmp_path / "a" / ID_FILE).is_file()
    disks.update(home=5000, b=1000)
    return library, held


@pytest.mark.parametrize("how", ["folder gone", "mount point left"])
def test_a_missing_disk_is_no_empty_folder(disks, tmp_path, how):
    library, held = on_a(disks, tmp_path)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    if how == "mount point left":
        (tmp_path / "a").mkdir()
    for same in (library, library_of(tmp_path)):
        assert same.all() == []
        assert [folder.root.name for folder in same.missing_folders] == ["a"]
        assert [(one.id, one.folder) for one in same.away()] == [(FIRST, held.folder)]
        assert not same.is_here(held)
        assert same.get(FIRST) is None
        for call in (lambda one: one.find(REPO), lambda one: one.stage(FIRST), lambda one: one.remove(held)):
            with pytest.raises(AwayError, match="a disk that is not connected"):
                call(same)
        with pytest.raises(NotFoundError):
            same.find(REPO, SECOND.commit)
    assert hold(library, SECOND).folder.is_relative_to(tmp_path / "home")
    if how == "mount point left":
        (tmp_path / "a").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "a")
    assert [one.id for one in library.all()] == [FIRST, SECOND]
    assert library.away() == []
    library.remove(library.find(REPO, FIRST.commit))
    assert [one.id for one in library_of(tmp_path).all()] == [SECOND]


def test_another_disk_in_the_same_place_is_used_and_both_are_known(disks, tmp_path):
    library, _ = on_a(disks, tmp_path)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ID_FILE).write_text("another\n")
    disks.update(home=0, b=0)
    assert hold(library, SECOND).folder.is_relative_to(tmp_path / "a")
    assert [one.id for one in library.all()] == [SECOND]
    assert [one.id for one in library.away()] == [FIRST]


def test_what_an_absent_disk_held_can_be_forgotten(disks, tmp_path):
    library, _ = on_a(disks, tmp_path)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    library.forget(FIRST)
    assert library.away() == []
    assert hold(library, FIRST).folder.is_relative_to(tmp_path / "home")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 1}', b'{"x": {"path": 1, "snapshots": {}}}', b"\xff"])
def test_a_damaged_memory_costs_nothing_that_is_here(disks, tmp_path, damage):
    _, held = on_a(disks, tmp_path)
    Home(tmp_path / "home").library_folders.write_bytes(damage)
    fresh = library_of(tmp_path)
    assert fresh.all() == [held]
    assert fresh.away() == []
    fresh.remember()
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    assert [one.id for one in fresh.away()] == [FIRST]


def test_a_fetch_begins_and_ends_where_it_was_put(disks, tmp_path):
    disks.update(home=0, a=0, b=100)
    library = library_of(tmp_path)
    folder = library.make_folder(FIRST, [], lambda _: 10)
    assert folder.is_relative_to(tmp_path / "b")
    disks.update(a=5000)
    assert library.begin(FIRST, TORRENT, None).folder == folder
    assert library.finish(FIRST, TORRENT, None, NOTHING).state is State.COMPLETE
    assert library.find(REPO).folder == folder


def test_a_library_that_is_a_link_to_an_absent_disk(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "home" / "library").symlink_to(tmp_path / "disk")
    library = Library(Home(tmp_path / "home"))
    hold(library, FIRST)
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    assert library.folders == ()
    with pytest.raises(DiskError):
        library.stage(SECOND)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ('reserve = "2GB"\nfolders = ["/a", "/b"]', [("/a", 2 * 10**9), ("/b", 2 * 10**9)]),
        ('folders = [{path = "/a", reserve = "1TB"}, "/b"]', [("/a", 10**12), ("/b", space.RESERVE)]),
        ('folders = "/a"', None),
        ('folders = ["a"]', None),
        ('folders = ["/a", "/a/b"]', None),
        ('folders = ["/a", "/a"]', None),
        ('folders = [{path = "/a", size = 1}]', None),
        ('reserve = "much"', None),
        ("disks = []", None),
        ('scrub_every = "often"', None),
        ("scrub_every = 30", None),
    ],
)
def test_the_setting(tmp_path, text, found):
    from p2pqwen.config.load import load

    (tmp_path / "config.toml").write_text(f"[library]\n{text}\n")
    if found is None:
        with pytest.raises(UsageError, match=r"\[library\]"):
            load({"P2PQWEN_HOME": str(tmp_path)})
        return
    config = load({"P2PQWEN_HOME": str(tmp_path)})
    assert [(one.root, one.reserve) for one in config.library.folders] == [(Path(path), size) for path, size in found]


@pytest.mark.parametrize(("text", "days"), [("", 30), ('scrub_every = "7d"', 7)])
def test_how_often_everything_is_read_again(tmp_path, text, days):
    from p2pqwen.config.load import load

    (tmp_path / "config.toml").write_text(f"[library]\n{text}\n")
    assert load({"P2PQWEN_HOME": str(tmp_path)}).library.scrub_every == timedelta(days=days)


@pytest.mark.parametrize(("selected", "claimed"), [(None, sum(map(len, FILES.values()))), (("*.json",), 3)])
def test_what_a_fetch_has_still_to_write_is_not_given_away_twice(disks, tmp_path, selected, claimed):
    metainfo = make_snapshot()
    snapshot = SnapshotId(RepoId("Qwen/Tiny"), metainfo.commit)
    disks.update(home=0, a=100_000, b=0)
    library = library_of(tmp_path)
    folder = library.make_folder(snapshot, [], lambda _: claimed)
    library.begin(snapshot, CheckedTorrent.of(metainfo), selected)
    assert library.room == 100_000 - claimed
    library.require_room(folder, 100_000)  # its own is not counted against it
    with pytest.raises(DiskError, match="no library folder has room"):
        library.stage(FIRST, lambda _: 100_001 - claimed)
    assert library.stage(FIRST, lambda _: 100_000 - claimed).is_relative_to(tmp_path / "a")
    with pytest.raises(DiskError, match="for unfinished fetches"):
        library.require_room(library.staged(FIRST), 100_001 - claimed)
    (folder / "config.json").write_bytes(FILES["config.json"])
    library.finish(snapshot, CheckedTorrent.of(metainfo), selected, NOTHING)
    assert library.room == 100_000
