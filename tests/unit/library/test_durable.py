"""Writes are whole or absent, locks name their owner, system errors become ours."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.library import durable
from p2pqwen.portable import files
from p2pqwen.portable.locks import file_lock


def test_write_replaces_and_leaves_no_temporary_file(tmp_path):
    target = tmp_path / "deep" / "file.json"
    durable.write(target, b"one")
    durable.write(target, b"two", mode=0o600)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


def test_new_folders_are_durable_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.write(tmp_path / "a" / "b" / "file", b"x")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    durable.write(tmp_path / "a" / "b" / "file", b"y")
    assert synced[3:] == [tmp_path / "a" / "b"]


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("count", [0, 1, 3, 10])
@pytest.mark.parametrize("together", [True, False], ids=["all at once", "each by itself"])
def test_many_stand_only_once_they_are_on_the_disk(tmp_path, monkeypatch, count, together):
    """As many as fill two batches and a bit; and each folder that is new is made durable."""
    root = tmp_path / "site"
    given = [(root / f"{number % 3}" / "deep" / f"{number}.torrent", b"%d" % number) for number in range(count)]
    synced: list[Path] = []
    standing: list[list[str]] = []

    def note(path: Path) -> bool:
        standing.append([name for name in names_below(root) if name.endswith(".torrent")])
        synced.append(path)
        return True

    monkeypatch.setattr(durable, "_AT_ONCE", 4)
    monkeypatch.setattr(durable, "MANY", 0 if together else 99)
    monkeypatch.setattr(files, "sync_file_system", note)
    monkeypatch.setattr(files, "sync_file", note)
    monkeypatch.setattr(durable, "sync_folder", note)
    durable.write_many(root, iter(given), mode=durable.SHARED)
    assert {path: path.read_bytes() for path, _ in given} == dict(given)
    assert names_below(tmp_path) == sorted(str(path.relative_to(tmp_path)) for path, _ in given)
    assert not standing or standing[0] == []
    if together:
        assert all(path.is_relative_to(root) for path in synced)
        assert len(synced) == 2 * -(-count // 4)  # the files and the names of each batch
    else:
        assert {path.parent for path, _ in given} | ({root} if given else set()) <= set(synced)
        assert sum(path.suffix == ".tmp" for path in synced) == count


@pytest.mark.parametrize("fails_in", ["given", "sync_file", "replace"])
def test_many_that_fail_leave_nothing_half(tmp_path, monkeypatch, fails_in):
    old = tmp_path / "1"
    durable.write(old, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def given():
        yield old, b"new"
        yield tmp_path / "2", b"new"
        if fails_in == "given":
            raise NotFoundError("no third one")

    if fails_in == "replace":
        monkeypatch.setattr("pathlib.Path.replace", fail)
    elif fails_in == "sync_file":
        monkeypatch.setattr(files, "sync_file", fail)
    with pytest.raises(NotFoundError if fails_in == "given" else DiskError):
        durable.write_many(tmp_path, given())
    assert names_below(tmp_path) == ["1"]
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "free some space"), (errno.EACCES, "who owns"), (errno.EIO, None)]
)
def test_a_failing_step_keeps_the_old_bytes(tmp_path, monkeypatch, step, code, words):
    target = tmp_path / "file"
    durable.write(target, b"old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(DiskError) as caught:
        durable.write(target, b"new")
    assert (words is None) == (caught.value.hint is None)
    assert words is None or words in caught.value.hint
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_read_is_limited(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert durable.read(tmp_path / "file", max_bytes=5) == b"12345"
    with pytest.raises(FormatError, match="too large"):
        durable.read(tmp_path / "file", max_bytes=4)
    with pytest.raises(NotFoundError):
        durable.read(tmp_path / "none", max_bytes=4)


def test_a_second_process_is_told_who_holds_the_lock(tmp_path):
    path = tmp_path / "node.lock"
    program = f"""
from pathlib import Path
from p2pqwen.library import durable
from p2pqwen.portable import files
from p2pqwen.portable.locks import file_lock
try:
    with durable.lock(Path({str(path)!r})):
        print("free")
except durable.LockHeldError as error:
    print(error.owner)
"""

    def ask() -> str:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()

    with durable.lock(path):
        assert ask() == str(os.getpid())
    assert ask() == "free"


@pytest.mark.parametrize("step", ["mkdir", "replace"])
def test_a_folder_that_others_tidy_away_while_it_is_empty_is_made_again(tmp_path, monkeypatch, step):
    """Snapshots come and go at the same time, and who removes one removes the empty folders above it."""
    source, target = tmp_path / "staged", tmp_path / "org" / "repo" / "commit"
    source.mkdir()
    real, tidied = getattr(Path, step), []

    def meanwhile(path, *arguments, **options):
        parent = {"mkdir": path.parent, "replace": target.parent}[step]
        if not tidied and parent in {target.parent, target.parent.parent}:
            tidied.append(parent)
            parent.rmdir()
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, step, meanwhile)
    durable.rename(source, target, shared=True)
    assert (len(tidied), target.is_dir(), source.exists()) == (1, True, False)


def test_a_rename_of_what_is_not_there_is_an_error_at_once(tmp_path):
    with pytest.raises(DiskError, match="cannot rename"):
        durable.rename(tmp_path / "nothing", tmp_path / "org" / "repo")


@pytest.mark.parametrize("system", ["here", "elsewhere"])
def test_many_files_wait_for_the_disk_once(tmp_path, monkeypatch, system):
    """Where no call writes out a whole file system, each of them is synced as a few are."""
    asked, synced = [], []
    real = files.sync_data
    monkeypatch.setattr(durable, "MANY", 4)
    monkeypatch.setattr(files, "sync_file_system", lambda folder: asked.append(folder) or system == "here")
    monkeypatch.setattr(files, "sync_data", lambda descriptor, path: synced.append(path.name) or real(descriptor, path))
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x")
    durable.sync_tree(tmp_path)
    assert (asked, sorted(synced)) == ([], ["0", "1", "2", "3"])
    synced.clear()
    (tmp_path / "4").write_bytes(b"x")
    durable.sync_tree(tmp_path)
    assert asked == [tmp_path]
    assert len(synced) == (0 if system == "here" else 5)


def test_who_looks_at_a_lock_does_not_hold_it(tmp_path):
    """`status` asks whether a node runs; one that starts just then is not told that another does."""
    path = tmp_path / "node.lock"
    path.touch()
    with path.open("rb") as looking:
        assert file_lock(looking.fileno()).take(shared=True)
        leaves = threading.Timer(0.05, looking.close)
        leaves.start()
        with durable.lock(path):
            assert durable.is_locked(path)
            with pytest.raises(durable.LockHeldError, match=str(os.getpid())), durable.lock(path):
                pytest.fail("two hold it")
        leaves.join()


def test_one_who_never_stops_looking_holds_it_after_all(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_LOOKERS", 3)
    path = tmp_path / "node.lock"
    path.touch()
    with path.open("rb") as looking:
        assert file_lock(looking.fileno()).take(shared=True)
        with pytest.raises(durable.LockHeldError), durable.lock(path):
            pytest.fail("it is shared")
    with durable.lock(path):
        pass
