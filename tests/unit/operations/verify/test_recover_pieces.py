from __future__ import annotations

import pytest

from p2pqwen.operations.verify.recover_pieces import pieces_on_disk
from p2pqwen.values.repo_path import RepoPath
from tests.support.models import noise
from tests.support.swarm import make_snapshot

FILES = {"a.bin": noise(600_000, "a"), "b.bin": noise(300_000, "b"), "empty": b""}


@pytest.fixture
def snapshot(tmp_path):
    return make_snapshot(tmp_path, FILES)


def found(snapshot, have=None, **options):
    have = bytes(snapshot.metainfo.layout.piece_count) if have is None else have
    return list(pieces_on_disk(snapshot.metainfo, snapshot.folder, have, **options))


def test_what_is_right_is_found_and_what_is_known_is_not_read(snapshot):
    read = []
    assert found(snapshot) == [0, 1, 2, 3, 4]
    assert found(snapshot, b"\1\0\1\1\1", on_bytes=read.append) == [1]
    assert read == [262_144]
    assert found(snapshot, files={RepoPath("b.bin")}) == [3, 4]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data[:300_000], [0]),
        (lambda data: b"x" + data[1:], [1, 2]),
        (lambda data: data + b"more", [0, 1, 2]),
        (lambda data: bytes(len(data)), []),
    ],
)
def test_only_what_is_right_is_found(snapshot, change, expected):
    path = snapshot.folder / "a.bin"
    path.write_bytes(change(path.read_bytes()))
    assert found(snapshot, files={RepoPath("a.bin")}) == expected


def test_holes_are_not_read(snapshot):
    path, read = snapshot.folder / "a.bin", []
    path.unlink()
    with path.open("wb") as file:
        file.truncate(600_000)
        file.seek(524_288)
        file.write(FILES["a.bin"][524_288:])
    assert found(snapshot, files={RepoPath("a.bin")}, on_bytes=read.append) == [2]
    assert sum(read) < 100_000


def test_a_link_is_not_followed(snapshot, tmp_path):
    path = snapshot.folder / "a.bin"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert found(snapshot, files={RepoPath("a.bin")}) == []
