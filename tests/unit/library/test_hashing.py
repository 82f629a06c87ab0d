"""One read gives every digest; a file that moves under the reader is refused."""

from __future__ import annotations

import hashlib

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library.hashing import (
    READ_SIZE,
    FileChangedError,
    hash_file,
    hash_files,
)
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.piece_hasher import PieceHasher
from p2pqwen.values.repo_path import RepoPath


@pytest.mark.parametrize("size", [0, 1, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 3 * READ_SIZE + 7])
def test_all_digests_of_one_read(tmp_path, size):
    data = bytes(index % 251 for index in range(size))
    (tmp_path / "file").write_bytes(data)
    seen = []
    got = hash_file(tmp_path / "file", piece_length=1 << 18, padded=True, on_bytes=seen.append)
    assert got.size == sum(seen) == size
    assert got.sha256.raw == hashlib.sha256(data).digest()
    assert got.git_blob.raw == hashlib.sha1(b"blob %d\0" % size + data).digest()
    whole = PieceHasher(1 << 18, padded=True)
    whole.update(data)
    assert got.hashes == whole.finish()


def test_a_file_that_grows_while_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * (2 * READ_SIZE))

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"y")

    with pytest.raises(FileChangedError, match="changed while it was read"):
        hash_file(path, piece_length=1 << 18, padded=False, on_bytes=grow)


def test_many_files_and_one_that_cannot_be_read(tmp_path):
    names = {"a": b"1" * 10, "b/c": b"2" * 20, "gone": b"3"}
    for name, data in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    layout = Layout.of((RepoPath(name), len(data)) for name, data in names.items())
    whole = hash_files(tmp_path, layout, lfs={RepoPath("a")})
    assert {path.text for path in whole} == set(names)
    assert whole[RepoPath("a")].git_blob is None
    assert whole[RepoPath("b/c")].git_blob is not None

    (tmp_path / "gone").unlink()
    with pytest.raises(DiskError):
        hash_files(tmp_path, layout)
    failed = {}
    rest = hash_files(tmp_path, layout, on_error=failed.__setitem__)
    assert {path.text for path in rest} == {"a", "b/c"}
    assert {path.text for path in failed} == {"gone"}
    assert set(hash_files(tmp_path, layout, only={RepoPath("a")})) == {RepoPath("a")}
