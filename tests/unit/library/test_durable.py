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


@pytest.mark.parametrize("step", ["mkdir", "rename"])
def test_a_folder_that_others_tidy_away_while_it_is_empty_is_made_again(tmp_path, monkeypatch, step):
    """Snapshots come and go at the same time, and who removes one removes the empty folders above it."""
    source, target = tmp_path / "staged", tmp_path / "org" / "repo" / "commit"
    source.mkdir()
    real, tidied = getattr(Path, step), []

    def meanwhile(path, *arguments, **options):
        parent = {"mkdir": path.parent, "rename": target.parent}[step]
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
