"""One read gives every digest; a file that moves under the reader is refused."""

from __future__ import annotations

import hashlib

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library.hashing import (
    READ_SIZE,
    Digester,
    FileChangedError,
    FollowingHasher,
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


def test_following_a_file_that_grows_reads_each_byte_once(tmp_path):
    data = bytes(index % 251 for index in range(3 * READ_SIZE + 77))
    path = tmp_path / "growing"
    follower = FollowingHasher(lambda: Digester(len(data), piece_length=1 << 18, padded=True, git_blob=True))
    read = []
    follower.advance(path, read.append)  # not there yet
    for end in (10, READ_SIZE + 5, 2 * READ_SIZE):
        path.write_bytes(data[:end])
        follower.advance(path, read.append)
    assert sum(read) == 2 * READ_SIZE
    path.write_bytes(data)
    got = hash_file(path, piece_length=1 << 18, padded=True, on_bytes=read.append, begun=follower.digester)
    assert sum(read) == len(data)
    assert got == hash_file(path, piece_length=1 << 18, padded=True)


def test_a_writer_that_begins_again_or_goes_back(tmp_path):
    path = tmp_path / "growing"
    follower = FollowingHasher(lambda: Digester(100, piece_length=1 << 18, padded=False, git_blob=False))
    path.write_bytes(b"a" * 60)
    follower.advance(path)
    path.write_bytes(b"b" * 20)
    follower.advance(path)  # shorter than what was read: nothing to do
    assert follower.digester.done == 60
    follower.restart()
    assert not follower.begun
    path.write_bytes(b"c" * 100)
    follower.advance(path)
    fresh = hash_file(path, piece_length=1 << 18, padded=False, git_blob=False)
    assert hash_file(path, piece_length=1 << 18, padded=False, begun=follower.digester) == fresh
