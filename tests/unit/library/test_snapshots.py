"""A snapshot is held once its torrent stands; crashes between the steps leave nothing that looks complete."""

from __future__ import annotations

import os

import pytest

from p2pqwen.errors import NotFoundError, P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.verified import Look, Verified
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.snapshots import make_snapshot

REPO = RepoId("Qwen/Demo")
FIRST = SnapshotId(REPO, CommitId(b"\x01" * 20))
SECOND = SnapshotId(REPO, CommitId(b"\x02" * 20))
NOTHING = Verified(Sha256(bytes(32)), {})
TORRENT = CheckedTorrent.of(make_snapshot({"config.json": b"{}"}))
ANOTHER = TORRENT.with_uncovered(comment="another")
STAGED = Verified(Sha256(bytes(32)), {RepoPath("config.json"): Look(2, 1, 1, 1)})


@pytest.fixture
def library(tmp_path):
    return Library(Home(tmp_path))


def stage(library, snapshot):
    (library.stage(snapshot) / "config.json").write_bytes(b"{}")


def test_install_makes_a_complete_snapshot(library):
    stage(library, FIRST)
    assert library.all() == []
    held = library.install(FIRST, TORRENT, STAGED)
    assert held.state is State.COMPLETE
    assert (held.folder / "config.json").read_bytes() == b"{}"
    assert library.all() == [held] == [library.find(REPO)] == [library.get(FIRST)]
    assert held.folder == library.root / "Qwen" / "Demo" / ("01" * 20)


def test_a_crash_between_rename_and_torrent_is_taken_back_to_staging(library, monkeypatch):
    stage(library, FIRST)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(durable, "write", crash)
    with pytest.raises(KeyboardInterrupt):
        library.install(FIRST, TORRENT, STAGED)
    monkeypatch.undo()
    assert library.all() == []
    assert (library.stage(FIRST) / "config.json").read_bytes() == b"{}"
    assert library.install(FIRST, TORRENT, STAGED).state is State.COMPLETE


@pytest.mark.parametrize(("selected", "end"), [(None, State.COMPLETE), (("*.json",), State.PARTIAL)])
def test_a_fetch_is_incomplete_until_it_is_finished(library, selected, end):
    assert library.begin(FIRST, TORRENT, selected).state is State.INCOMPLETE
    assert library.find(REPO).state is State.INCOMPLETE
    library.finish(FIRST, TORRENT, selected, NOTHING)
    assert library.find(REPO).state is end
    assert library.find(REPO).selected == selected


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"state": "complete?", "selected": null}', b"\xff"])
def test_a_damaged_marker_never_reads_as_complete(library, damage):
    library.begin(FIRST, TORRENT, None)
    marker = FIRST.repo, library.torrent_path(FIRST).with_suffix(".partial")
    marker[1].write_bytes(damage)
    assert library.find(REPO).state is State.INCOMPLETE


def test_naming_a_commit_where_there_are_two(library):
    for snapshot in (SECOND, FIRST):
        stage(library, snapshot)
        library.install(snapshot, TORRENT, NOTHING)
    assert [held.id for held in library.all()] == [FIRST, SECOND]
    with pytest.raises(P2pqwenError, match="holds 2 snapshots") as caught:
        library.find(REPO)
    assert str(SECOND) in caught.value.hint
    assert library.find(REPO, SECOND.commit).id == SECOND
    assert [held.id for held in library.of_commit(SECOND.commit)] == [SECOND]


def test_remove_leaves_no_trace_and_touches_nothing_else(library):
    for snapshot in (FIRST, SECOND):
        stage(library, snapshot)
        library.install(snapshot, TORRENT, NOTHING)
    outside = library.root.parent / "precious"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    link = library.folder(FIRST) / "link"
    link.symlink_to(outside)
    assert [one.path for one in library.remove(library.find(REPO, FIRST.commit))] == [link]
    assert (outside / "file").read_bytes() == b"precious"
    assert [held.id for held in library.all()] == [SECOND]
    library.begin(FIRST, TORRENT, None)
    link.unlink()
    for held in library.all():
        assert library.remove(held) == ()
    assert [path.name for path in library.root.iterdir()] in ([], [".staging"])
    with pytest.raises(NotFoundError):
        library.find(REPO)


@pytest.mark.parametrize("begin", ["fetch", "preserve", "make way"])
def test_what_somebody_put_into_a_snapshots_folder_outlives_it_and_the_next(library, begin):
    stage(library, FIRST)
    held = library.install(FIRST, TORRENT, STAGED)
    own = {"notes.txt": b"mine", "deep/er/thesis.pdf": b"years of work", "config.json.orig": b"before"}
    for name, content in own.items():
        (held.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (held.folder / name).write_bytes(content)

    left = library.remove(held)
    assert {one.path.relative_to(held.folder).as_posix() for one in left} == set(own)
    assert {one.reason for one in left} == {"none of the snapshot's files"}
    assert files_below(held.folder) == own
    assert library.get(FIRST) is None

    match begin:
        case "fetch":
            folder = library.make_folder(FIRST, [RepoPath("config.json")], lambda _: 0)
            (folder / "config.json").write_bytes(b"{}")
            library.finish(FIRST, TORRENT, None, STAGED)
        case "preserve":
            stage(library, FIRST)
            library.install(FIRST, TORRENT, STAGED)
        case _:
            library.make_way(FIRST)
            stage(library, FIRST)
            library.install(FIRST, TORRENT, STAGED)
    assert files_below(held.folder) == {"config.json": b"{}"}
    assert files_below(held.folder.with_name(f"{FIRST.commit}.aside-1")) == own
    assert library.remove(library.find(REPO)) == ()
    assert not held.folder.exists()


def test_a_snapshot_that_changed_loses_its_own_files_and_no_others(library):
    """Nothing tells whose the files are once torrent and record are gone: then all stay."""
    stage(library, FIRST)
    held = library.install(FIRST, TORRENT, STAGED)
    held.torrent_path.write_bytes(b"damaged")
    assert library.remove(held) == ()  # the record of what was verified names them
    library.begin(SECOND, TORRENT, None)
    unknown = library.find(REPO)
    unknown.folder.mkdir()
    (unknown.folder / "config.json").write_bytes(b"{}")
    unknown.torrent_path.write_bytes(b"damaged")
    (left,) = library.remove(unknown)
    assert (left.path, left.reason) == (unknown.folder / "config.json", "no torrent says whose file it is")
    assert library.all() == []


@pytest.mark.parametrize("instant", ["before", "after the torrent", "between files"])
def test_a_removal_that_is_killed_keeps_what_is_somebody_elses(library, monkeypatch, instant):
    stage(library, FIRST)
    held = library.install(FIRST, TORRENT, STAGED)
    (held.folder / "notes.txt").write_bytes(b"mine")

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    match instant:
        case "before":
            monkeypatch.setattr(durable, "write", kill)
        case "after the torrent":
            remove = durable.remove
            monkeypatch.setattr(durable, "remove", lambda path: remove(path) or kill())
        case _:
            monkeypatch.setattr("pathlib.Path.unlink", kill)
    with pytest.raises(KeyboardInterrupt):
        library.remove(held)
    monkeypatch.undo()
    for one in library.all():
        library.remove(one)
    stage(library, FIRST)
    library.install(FIRST, TORRENT, STAGED)
    found = list(held.folder.parent.rglob("notes.txt"))
    assert [path.read_bytes() for path in found] == [b"mine"]


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fetch_may_finish_while_somebody_looks(library, monkeypatch):
    library.begin(FIRST, TORRENT, None)
    read = durable.read

    def finishing_first(path, **limits):
        if path.suffix == ".partial":
            path.unlink(missing_ok=True)
        return read(path, **limits)

    monkeypatch.setattr(durable, "read", finishing_first)
    assert library.find(REPO).state is State.COMPLETE


def grow_old(folder):
    """Let no folder's time be of just now, when another change might not show in it."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.mark.parametrize(
    "name", ["Qwen/Demo", "Qwen/Other", "Others/Demo", "datasets/Qwen/Data", "modelscope:Qwen/Demo"]
)
def test_what_another_program_adds_and_removes_shows_wherever_it_lies(library, tmp_path, name):
    other, second = Library(Home(tmp_path)), SnapshotId(RepoId.parse(name), SECOND.commit)

    def seen():
        found = [(held.id, held.state) for held in library.all()]
        grow_old(library.root)
        assert [(held.id, held.state) for held in library.all()] == found
        return dict(found)

    stage(other, FIRST)
    other.install(FIRST, TORRENT, STAGED)
    assert seen() == {FIRST: State.COMPLETE}
    stage(other, second)
    other.install(second, TORRENT, STAGED)
    assert seen() == {FIRST: State.COMPLETE, second: State.COMPLETE}
    other.remove(other.find(second.repo, second.commit))
    assert seen() == {FIRST: State.COMPLETE}
    other.begin(second, TORRENT, None)
    assert seen() == {FIRST: State.COMPLETE, second: State.INCOMPLETE}


def test_a_library_that_has_not_changed_is_asked_for_times_alone(library, monkeypatch):
    for one in (FIRST, SECOND):
        stage(library, one)
        library.install(one, TORRENT, STAGED)
    grow_old(library.root)
    before = library.all()

    def read(*_: object) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(Library, "_scan", read)
    assert library.all() == before
    assert library.all()[0] is before[0]


def test_a_flipped_bit_in_a_torrent_shows_and_a_crash_between_its_writes_does_not(library, monkeypatch):
    stage(library, FIRST)
    held = library.install(FIRST, TORRENT, STAGED)
    assert held.torrent_damage() is None
    held.torrent_path.write_bytes(b"torrenu")
    expected, got = held.torrent_damage()
    assert expected != got
    written = durable.write

    def crash_at_the_seal(path, data, **options):
        if path.name.endswith(".sha256"):
            raise KeyboardInterrupt
        written(path, data, **options)

    monkeypatch.setattr(durable, "write", crash_at_the_seal)
    with pytest.raises(KeyboardInterrupt):
        library.replace_torrent(FIRST, ANOTHER)
    assert (held.torrent_path.read_bytes(), held.torrent_damage()) == (ANOTHER.metainfo.encode(), None)
