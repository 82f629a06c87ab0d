"""A file counts as verified as long as nobody has touched it."""

from __future__ import annotations

import os
import shutil

import pytest

from p2pqwen.library.home import Home
from p2pqwen.library.verified import VerifiedFiles
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

SNAPSHOT = SnapshotId.parse("Qwen/Tiny@" + "ab" * 20)
INFOHASH = Sha256(b"\1" * 32)
PATHS = [RepoPath("a"), RepoPath("b/c")]


@pytest.fixture
def record(tmp_path):
    folder = tmp_path / "snapshot"
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_bytes(b"one")
    (folder / "b" / "c").write_bytes(b"two")
    verified = VerifiedFiles(Home(tmp_path / "home"))
    verified.record(SNAPSHOT, INFOHASH, folder, PATHS)
    return verified, folder


def is_unchanged(record, **changes):
    verified, folder = record
    given = {"snapshot": SNAPSHOT, "infohash": INFOHASH, "folder": folder, "files": PATHS, **changes}
    return verified.unchanged(*given.values())


def test_untouched_files_are_believed(record):
    assert is_unchanged(record)
    assert is_unchanged(record, files=PATHS[:1])


def rewrite_in_place(folder):
    before = (folder / "a").stat()
    (folder / "a").write_bytes(b"ONE")
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "touch",
    [
        rewrite_in_place,
        lambda folder: (folder / "a").unlink(),
        lambda folder: (folder / "a").write_bytes(b"longer"),
        lambda folder: os.truncate(folder / "b" / "c", 1),
        shutil.rmtree,
        lambda folder: ((folder / "a").rename(folder / "old"), (folder / "a").symlink_to("old")),
        lambda folder: (shutil.copy2(folder / "a", folder / "x"), (folder / "x").replace(folder / "a")),
    ],
)
def test_any_change_is_noticed(record, touch):
    touch(record[1])
    assert not is_unchanged(record)


def test_another_torrent_or_file_was_not_verified(record):
    assert not is_unchanged(record, infohash=Sha256(b"\2" * 32))
    assert not is_unchanged(record, files=[*PATHS, RepoPath("d")])


def test_a_forgotten_or_damaged_record_is_none(record, tmp_path):
    verified, _ = record
    path = next((tmp_path / "home" / "verified").iterdir())
    good = path.read_bytes()
    for damaged in (b"", good[:-5], b"[]", b"{}", good.replace(b"files", b"filez"), b"\xff"):
        path.write_bytes(damaged)
        assert not is_unchanged(record)
    path.write_bytes(good)
    assert is_unchanged(record)
    assert verified.stamp(SNAPSHOT) > 0
    verified.forget(SNAPSHOT)
    assert not is_unchanged(record)
    assert verified.stamp(SNAPSHOT) == 0
