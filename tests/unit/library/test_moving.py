"""A move or removal that is killed at any step, or under which files change: nothing is lost, or wrongly verified."""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from pathlib import Path

import pytest

from p2pqwen.library import moving
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.verified import Verified
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.repo_path import RepoPath
from tests.support.disks import other_disk
from tests.support.snapshots import make_snapshot

FILES = {"config.json": b"{}", "a/b/weights.bin": b"weight" * 50_000, "a/empty": b""}
OWN = {"notes.txt": b"mine", "a/mine.txt": b"mine too"}
TORRENT = CheckedTorrent.of(make_snapshot(FILES))
SNAPSHOT = TORRENT.manifest.snapshot
WRITES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.utime", "os.chmod", "os.link"}
KILLED = 9


@pytest.fixture(params=["same disk", "other disk"])
def folder(request, tmp_path):
    if request.param == "same disk":
        (tmp_path / "other").mkdir()
        yield tmp_path / "other"
    else:
        with other_disk(tmp_path) as found:
            yield found


def library_of(tmp_path: Path, folder: Path) -> Library:
    return Library(Home(tmp_path / "home"), [LibraryFolder(folder, 0)], reserve=0)


def preserved(tmp_path: Path) -> None:
    """Preserve the snapshot in the home's own folder, wherever there is more room."""
    library = Library(Home(tmp_path / "home"), reserve=0)
    staged = library.stage(SNAPSHOT, files=[RepoPath(name) for name in FILES])
    write(staged, FILES)
    library.install(SNAPSHOT, TORRENT, Verified.now(TORRENT.infohash.v2, staged, [RepoPath(name) for name in FILES]))


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def killed_at(step: int, work) -> bool:
    """Do the work in a process that ends at its `step`th change of a disk; tell whether it came to that."""
    if (child := os.fork()) == 0:
        steps = 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal steps
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            steps += bool(opened) or event in WRITES
            if steps == step:
                os._exit(KILLED)

        sys.addaudithook(count)
        try:
            work()
        except BaseException:  # noqa: BLE001 - no test goes on in a child
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, KILLED}
    return code == KILLED


def state(library: Library) -> State:
    return library.state(library.find(SNAPSHOT.repo), TORRENT.infohash.v2, sum(map(len, FILES.values())))


def require_nothing_lost(*roots: Path, whole: Library | None) -> None:
    """Require that everything stands below `roots`, and that the snapshot is where `whole` has it."""
    stand = [(path.name, path.read_bytes()) for root in roots for path in root.rglob("*") if path.is_file()]
    assert [name for name, content in OWN.items() if (Path(name).name, content) not in stand] == []
    if whole is not None:
        held = whole.get(SNAPSHOT)
        assert {name: (held.folder / name).read_bytes() for name in FILES} == FILES


@pytest.mark.slow
def test_a_move_that_is_killed_at_any_step_loses_nothing_and_is_ended_by_the_next(tmp_path, folder):
    step, going = 0, True
    while going:
        step += 1
        home, other = tmp_path / f"{step}", folder / f"{step}"
        other.mkdir()
        library = library_of(home, other)
        preserved(home)
        write(library.folder(SNAPSHOT), OWN)
        going = killed_at(step, partial(moving.move, library, library.find(SNAPSHOT.repo), library.folders[1]))
        library = library_of(home, other)
        stand = {path.read_bytes() for root in (home, other) for path in root.rglob("*") if path.is_file()}
        assert stand >= {*FILES.values(), *OWN.values()}
        to = library.folders[1]
        moving.move(library, library.find(SNAPSHOT.repo), to)
        require_nothing_lost(home, other, whole=library)
        assert library.get(SNAPSHOT).folder == to.folder(SNAPSHOT)
        assert not library.root.joinpath("Qwen").exists() or not any(library.root.joinpath("Qwen").rglob("*.torrent"))
    assert step > 10  # it came to many


def test_a_removal_that_is_killed_at_any_step_loses_nothing_of_others(tmp_path):
    step, going = 0, True
    while going:
        step += 1
        home = tmp_path / f"{step}"
        library = library_of(home, tmp_path / "absent")
        preserved(home)
        write(library.folder(SNAPSHOT), OWN)
        going = killed_at(step, partial(library.remove, library.find(SNAPSHOT.repo)))
        library = library_of(home, tmp_path / "absent")
        require_nothing_lost(home, whole=None)
        for held in library.all():
            library.remove(held)
        preserved(home)
        require_nothing_lost(home, whole=library)
    assert step > 10


def test_what_changes_while_it_is_copied_does_not_count_as_verified(tmp_path):
    with other_disk(tmp_path) as folder:
        library = library_of(tmp_path, folder)
        preserved(tmp_path)
        assert state(library) is State.COMPLETE
        held = library.find(SNAPSHOT.repo)

        def change(_: int) -> None:
            (held.folder / "a/b/weights.bin").write_bytes(b"WEIGHT" * 50_000)

        moving.move(library, held, library.folders[1], on_bytes=change)
        assert library.get(SNAPSHOT).folder.is_relative_to(folder)
        assert state(library) is State.CHANGED
