"""`library move`: from disk to disk, compared before the original goes; and second copies are announced."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import moving
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.verified import Verified
from tests.support.disks import other_disk
from tests.support.models import ATTRIBUTES, noise
from tests.support.nodes import quiet_config, row, seeding
from tests.support.preserved import COMMITS, REPO, Preserver, in_cache, small_model, tree
from tests.support.waiting import wait_until


@pytest.fixture
def disk(tmp_path):
    """A folder on another file system than the tests' own, where this machine has one."""
    with other_disk(tmp_path) as folder:
        yield folder


@pytest.fixture
def keeper(tmp_path):
    one = Preserver(tmp_path)
    one.preserve(small_model())
    return one


def with_disks(user, *disks: Path) -> None:
    folders = ", ".join(f'{{path = "{one}", reserve = "1MB"}}' for one in disks)
    quiet_config(user, f"[library]\nfolders = [{folders}]\n")


def path_of(user) -> str:
    return user.ok("list")["snapshots"][0]["path"]


def test_a_snapshot_moves_and_stays_verified(keeper, disk):
    user = keeper.user
    with_disks(user, disk)
    home = user.home / "library"
    before = (home / REPO / f"{COMMITS[0]}.torrent").stat().st_mtime_ns
    done = user.run("library", "move", REPO, "--to", disk, "--json")
    assert done.code == 0, done.stderr
    assert "are copied to" in done.stderr  # before it is done
    (one,) = done.json["moved"]
    assert (one["repo"], one["came_from"], one["path"]) == (REPO, str(home), str(disk / REPO / COMMITS[0]))
    assert one["copied"] == one["size"] == sum(map(len, small_model().values()))
    assert tree(disk / REPO / COMMITS[0]) == small_model()
    assert not (home / REPO).exists()
    (held,) = user.ok("list")["snapshots"]
    assert (held["path"], held["state"]) == (one["path"], "complete")  # nothing has to be read again
    assert user.ok("verify", REPO)["ok"]
    # Since when it is held decides what `rebalance` may give up.
    assert (disk / REPO / f"{COMMITS[0]}.torrent").stat().st_mtime_ns == before
    again = user.ok("library", "move", REPO, "--to", disk)
    assert again["moved"][0]["copied"] == 0
    assert path_of(user) == one["path"]
    user.ok("library", "move", "Qwen/*", "--to", home)
    assert tree(home / REPO / COMMITS[0]) == small_model()
    assert not (disk / REPO).exists()


def test_on_one_disk_it_is_renamed(keeper, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with_disks(keeper.user, other)
    inode = next((keeper.user.home / "library" / REPO / COMMITS[0]).glob("*.safetensors")).stat().st_ino
    done = keeper.user.ok("library", "move", REPO, "--to", other)
    assert done["moved"][0]["copied"] == 0
    assert next((other / REPO / COMMITS[0]).glob("*.safetensors")).stat().st_ino == inode


def test_a_running_node_serves_on_from_the_new_place(keeper, disk):
    with_disks(keeper.user, disk)
    with seeding(keeper.user) as (node, port):
        node.line(30, containing='"seeding"')
        keeper.user.ok("library", "move", REPO, "--to", disk)
        wait_until(lambda: node.stdout.count('"event": "seeding"') == 2, 30, "it is loaded again")
        assert row(keeper.user, COMMITS[0])["state"] == "seeding"
        reader = keeper.trusted_by("reader")
        quiet_config(reader)
        fetched = reader.ok("fetch", REPO, "--peer", f"127.0.0.1:{port}", "--no-hf-cache")
    assert fetched["bytes_from_peers"] > 0


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [("nowhere", 4, "is not a folder of the library"), ("disk", 6, "not enough room")],
)
def test_what_cannot_be_moved_stays(keeper, disk, tmp_path, to, code, said):
    user = keeper.user
    quiet_config(user, f'[library]\nfolders = [{{path = "{disk}", reserve = "9000TB"}}]\n')
    ended = user.run("library", "move", REPO, "--to", disk if to == "disk" else tmp_path / to)
    assert (ended.code, said in ended.stderr) == (code, True), ended
    assert path_of(user) == str(user.home / "library" / REPO / COMMITS[0])
    assert user.ok("verify", REPO)["ok"]


class KilledError(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("step", ["_bring", "_name", "_leave"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_move_that_is_cut_off_loses_nothing_and_is_ended_by_another(
    keeper, disk, tmp_path, monkeypatch, apart, step, when
):
    other = disk if apart else tmp_path / "other"
    other.mkdir(exist_ok=True)

    def library() -> Library:
        return Library(Home(keeper.user.home), (LibraryFolder(other, 0),), reserve=0)

    def move(one: Library) -> None:
        place = next(place for place in one.folders if place.root == other)
        moving.move(one, one.all()[0], place)

    real = getattr(moving, step)

    def cut(*arguments: object, **more: object) -> None:
        if when == "after":
            real(*arguments, **more)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(moving, step, cut)
        with pytest.raises(KilledError):
            move(library())
    assert len(library().all()) == 1
    move(library())
    (held,) = library().all()
    assert held.folder == other / REPO / COMMITS[0]
    assert tree(held.folder) == small_model()
    assert not (keeper.user.home / "library" / REPO).exists()


@pytest.mark.parametrize("apart", [True, False])
def test_after_a_cut_the_whole_one_of_two_folders_stays(keeper, disk, tmp_path, apart):
    """The folder was renamed, the torrent not; then a repair began at the old place and brought little."""
    other = disk if apart else tmp_path / "other"
    old, new = keeper.user.home / "library" / REPO / COMMITS[0], other / REPO / COMMITS[0]
    new.parent.mkdir(parents=True)
    shutil.move(old, new)
    old.mkdir()
    old.joinpath("config.json").write_bytes(small_model()["config.json"])
    library = Library(Home(keeper.user.home), (LibraryFolder(other, 0),), reserve=0)
    moving.move(library, library.all()[0], library.folders[1])
    (held,) = Library(Home(keeper.user.home), (LibraryFolder(other, 0),), reserve=0).all()
    assert held.folder == new
    assert tree(new) == small_model()
    assert not old.exists()


THEIRS = {"notes.txt": b"mine", "run/1/loss.csv": b"0.5\n", ".cache/x": b""}


def add_theirs(folder: Path) -> None:
    for name, content in THEIRS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "latest").symlink_to("run/1/loss.csv")


def two_places(keeper, other: Path) -> tuple[Library, Path, Path]:
    other.mkdir(exist_ok=True)
    library = Library(Home(keeper.user.home), (LibraryFolder(other, 0),), reserve=0)
    old, new = (one.root / REPO / COMMITS[0] for one in library.folders)
    return library, old, new


def move_to(library: Library, number: int) -> moving.Moved:
    return moving.move(library, library.all()[0], library.folders[number])


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("kept", ["complete", "partial"])
def test_files_of_ones_own_in_a_snapshots_folder_go_along(keeper, disk, tmp_path, apart, kept):
    other = disk if apart else tmp_path / "other"
    other.mkdir(exist_ok=True)
    if kept == "partial":
        reader = keeper.trusted_by("reader")
        quiet_config(reader)
        with seeding(keeper.user) as (_, port):
            reader.ok("fetch", REPO, "config.json", "--peer", f"127.0.0.1:{port}", "--no-hf-cache")
        keeper.user.home = reader.home
    library, old, new = two_places(keeper, other)
    (old / "README.md").write_bytes(b"of ones own, where no file was chosen" if kept == "partial" else b"changed")
    add_theirs(old)
    before = tree(old)
    done = move_to(library, 1)
    assert (tree(new), done.left) == (before, ())
    assert (new / "latest").is_symlink()
    assert not old.parent.exists()
    assert library.all()[0].folder == new


@pytest.mark.parametrize("apart", [True, False])
def test_what_stands_where_a_snapshot_goes_is_set_aside(keeper, disk, tmp_path, apart):
    other = disk if apart else tmp_path / "other"
    library, old, new = two_places(keeper, other)
    add_theirs(new)
    (new / "config.json").write_bytes(b"of a try that was cut off")
    done = move_to(library, 1)
    assert tree(new) == small_model()
    (left,) = done.left
    assert {name: tree(left.path)[name] for name in THEIRS} == THEIRS
    assert not old.exists()


def test_of_two_files_of_one_name_both_stay(keeper, disk, monkeypatch):
    library, old, new = two_places(keeper, disk)
    add_theirs(old)

    def cut(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_leave", cut)
        with pytest.raises(KilledError):
            move_to(library, 1)
    add_theirs(new)
    (new / "notes.txt").write_bytes(b"another")
    os.mkfifo(old / "pipe")
    done = move_to(library, 1)
    assert {one.path.relative_to(old).as_posix() for one in done.left} == {"notes.txt", "pipe"}
    assert (old / "notes.txt").read_bytes() == b"mine"
    assert {name: tree(new)[name] for name in THEIRS} == THEIRS | {"notes.txt": b"another"}
    assert sorted(one.name for one in old.iterdir()) == ["notes.txt", "pipe"]


@pytest.mark.parametrize("to", [0, 1])
@pytest.mark.parametrize("verified", [True, False])
def test_a_second_copy_of_a_move_that_was_cut_off_goes_with_the_next_or_is_named(keeper, disk, to, verified):
    library, old, new = two_places(keeper, disk)
    move_to(library, 1 - to)
    here, there = (old, new) if to == 0 else (new, old)
    add_theirs(there)
    copy = shutil.copytree(there.parent, here.parent, symlinks=True)
    shutil.rmtree(copy / COMMITS[0] / "run")
    torrent = library.all()[0].metainfo()
    files = [one.path for one in torrent.files]
    if verified:
        library.verified.keep(library.all()[0].id, Verified.now(torrent.infohash.v2, here, files))
    else:
        library.verified.forget(library.all()[0].id)
    with_disks(keeper.user, disk)
    done = keeper.user.run("library", "move", REPO, "--to", here.parent.parent.parent, "--json")
    assert done.code == 0, done.stderr
    left = [one["path"] for one in done.json["moved"][0]["left"]]
    if verified or to == 1:
        assert (left, there.exists()) == ([], False)
        assert {name: tree(here)[name] for name in THEIRS} == THEIRS
    else:
        assert left == [str(there)]
        assert "a second copy" in done.stderr
        assert "p2pqwen verify" in done.stderr


def test_a_copy_that_was_left_goes_only_once_another_is_made(keeper, disk):
    old, new = keeper.user.home / "library" / REPO / COMMITS[0], disk / REPO / COMMITS[0]
    shutil.copytree(old, new)
    old.joinpath("config.json").unlink()
    new.joinpath("README.md").unlink()  # neither is whole
    left = tree(new)
    library = Library(Home(keeper.user.home), (LibraryFolder(disk, 0),), reserve=0)
    with pytest.raises(DiskError):
        moving.move(library, library.all()[0], library.folders[1])
    assert tree(new) == left


def test_a_disk_that_gives_other_bytes_than_it_took_is_told_and_the_original_stays(keeper, disk, monkeypatch):
    library = Library(Home(keeper.user.home), (LibraryFolder(disk, 0),), reserve=0)
    monkeypatch.setattr(moving, "clone", lambda *_: False)
    digests = iter(range(10_000))

    class Differs:
        def __init__(self) -> None:
            self.number = next(digests)

        def update(self, _: bytes) -> None:
            pass

        def digest(self) -> int:
            return self.number

    monkeypatch.setattr(moving, "hashlib", SimpleNamespace(sha256=Differs))
    with pytest.raises(DiskError, match="returns other bytes"):
        moving.move(library, library.all()[0], library.folders[1])
    assert library.all()[0].folder == keeper.user.home / "library" / REPO / COMMITS[0]


def test_an_import_goes_on_after_one_finds_no_room(keeper, tmp_path):
    """The first is too large for the disk, the second is not."""
    small = {".gitattributes": ATTRIBUTES, "model.safetensors": noise(10_000, "small")}
    keeper.preserve(small, COMMITS[1], "Qwen/Small")
    large = {".gitattributes": ATTRIBUTES, "model.safetensors": noise(3_000_000, "large")}
    keeper.preserve(large, COMMITS[2], "Qwen/Large")
    user = keeper.trusted_by("user")
    in_cache(user, large, COMMITS[2], "Qwen/Large")
    in_cache(user, small, COMMITS[1], "Qwen/Small")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        quiet_config(user, f'[library]\nreserve = "9000TB"\nfolders = [{{path = "{disk}", reserve = "0"}}]\n')
        ended = user.run("library", "import", "--json")
        assert user.ok("verify", "Qwen/Small")["ok"]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert ended.code == 6
    assert "Qwen/Large" in ended.stderr
    assert [one["repo"] for one in ended.json["imported"]] == ["Qwen/Small"]
    assert any("has room" in one["reason"] for one in ended.json["unmatched"])


def test_a_second_copy_is_announced_before_it_is_made(keeper, disk):
    user = keeper.trusted_by("user")
    user.environment["HF_HUB_CACHE"] = str(disk / "hub")
    quiet_config(user)
    with seeding(keeper.user) as (node, port):
        node.line(30, containing='"seeding"')
        done = user.run("fetch", REPO, "--peer", f"127.0.0.1:{port}")
    assert done.code == 0, done.stderr
    assert "a second copy" in done.stderr
    assert "--no-hf-cache" in done.stderr
    user.ok("remove", REPO, "--yes")
    imported = user.run("library", "import")
    assert "a second copy" in imported.stderr
    assert "on another disk" in imported.stderr
    user.ok("remove", REPO, "--yes")
    source = shutil.copytree(keeper.folder / "sources" / COMMITS[0], disk / "source")
    preserved = user.run("preserve", "--from", source, "--repo", REPO, "--commit", COMMITS[0])
    assert preserved.code == 0
    assert "a second copy" in preserved.stderr
