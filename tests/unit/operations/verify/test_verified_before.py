"""A snapshot that was right under every hash of its torrent before: what is still hashed, and what is still found."""

from __future__ import annotations

import pytest

from p2pqwen.library.hashing import hash_files
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.verified import Verified
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.operations.verify.verify import verify_again
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.forged import forged, spoilt

REPO, COMMIT = "Qwen/Tiny", "c" * 40
SNAPSHOT = SnapshotId(RepoId(REPO), CommitId.parse(COMMIT))
FILES = {"README.md": b"# Tiny\n", "a/one.json": b"{}\n" * 9000, "empty": b"", "model.safetensors": b"w" * 300_000}
SMALL = {"README.md", "a/one.json"}
PIECE = 1 << 18


def hold(tmp_path, *, lie=None):
    """A library with the files, and a torrent of them; its v1 pieces or its v2 tree may be of other bytes."""
    evil = FILES if lie is None else spoilt(FILES)
    metainfo = forged(FILES, evil, REPO, COMMIT, lie=lie or "v1", piece_length=PIECE)
    library = Library(Home(tmp_path / "home"))
    staged = library.stage(SNAPSHOT)
    for name, data in FILES.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_bytes(data)
    verified = Verified.now(metainfo.infohash.v2, staged, map(RepoPath, FILES))
    return library, library.install(SNAPSHOT, CheckedTorrent.of(metainfo), verified), metainfo


def test_v1_hashes_of_small_files_are_left_out_and_nothing_else(tmp_path):
    _, held, metainfo = hold(tmp_path)
    whole = hash_files(held.folder, metainfo.layout)
    less = hash_files(held.folder, metainfo.layout, v1_known=frozenset(FILES))
    assert {path.text for path, one in less.items() if one.hashes.left_out_pieces} == SMALL
    for index, file in enumerate(metainfo.files):
        one, other = less[file.path], whole[file.path]
        assert (one.sha256, one.git_blob, one.hashes.pieces_root) == (
            other.sha256,
            other.git_blob,
            other.hashes.pieces_root,
        )
        assert difference(metainfo, index, None, one) is None


@pytest.mark.parametrize("lie", ["v1", "v2"])
@pytest.mark.parametrize("record", ["none", "of another torrent", "unreadable"])
def test_without_a_record_of_this_torrent_every_hash_is_made(tmp_path, lie, record):
    library, held, _ = hold(tmp_path, lie=lie)
    if record == "of another torrent":
        library.verified.record(SNAPSHOT, Sha256(bytes(32)), held.folder, map(RepoPath, FILES))
    else:
        library.verified.forget(SNAPSHOT)
    if record == "unreadable":
        library.verified._path(SNAPSHOT).write_bytes(b"{")
    found = verify_again(held, library, ())
    expected = {"v1": "v1 piece ", "v2": "pieces root "}[lie]
    assert {(one.path, one.expected.startswith(expected)) for one in found.bad} == {
        (name, True) for name, data in FILES.items() if data
    }


@pytest.mark.parametrize("name", ["README.md", "a/one.json", "model.safetensors"])
def test_other_bytes_are_found_after_any_number_of_right_ones(tmp_path, name):
    library, held, metainfo = hold(tmp_path)
    assert library.verified.proven(SNAPSHOT, metainfo.infohash.v2) == frozenset(FILES)
    for _ in range(2):
        assert verify_again(held, library, ()).ok
    path = held.folder / name
    path.write_bytes(b"\0" + FILES[name][1:])
    found = verify_again(held, library, ())
    assert [one.path for one in found.bad] == [name]
    assert found.bad[0].expected == f"sha256 {Sha256.of(FILES[name])}"
    assert library.verified.proven(SNAPSHOT, metainfo.infohash.v2) == frozenset()
    path.write_bytes(FILES[name])
    assert verify_again(held, library, ()).ok
    assert library.verified.proven(SNAPSHOT, metainfo.infohash.v2) == frozenset(FILES)


def test_a_file_that_is_not_on_record_gets_every_hash(tmp_path):
    library, held, metainfo = hold(tmp_path, lie="v1")
    known = [RepoPath("README.md"), RepoPath("empty")]
    library.verified.keep(SNAPSHOT, Verified.now(metainfo.infohash.v2, held.folder, known))
    assert {one.path for one in verify_again(held, library, ()).bad} == {"a/one.json", "model.safetensors"}
