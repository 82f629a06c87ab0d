"""Git's ids with git's check for collision attacks. The check itself is libgit2's: here it is stood in for."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.library import hashing
from p2pqwen.library.hashing import FileChangedError, hash_file
from p2pqwen.manifest import git_sha1
from p2pqwen.manifest.git_object import blob_oid, commit_oid, tree_oid
from p2pqwen.manifest.git_sha1 import CollisionAttackError, object_id
from p2pqwen.values.repo_path import RepoPath

KINDS = ("blob", "tree", "commit")


def plain_id(kind: str, content: bytes) -> bytes:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).digest()


@given(st.sampled_from(KINDS), st.binary(max_size=3000))
def test_ids_are_those_of_plain_sha_1(kind, content):
    assert object_id(kind, content) == plain_id(kind, content)


def test_from_many_threads():
    contents = [f"{number}".encode() * number for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        for kind in KINDS:
            made = pool.map(lambda content, kind=kind: object_id(kind, content), contents)
            assert list(made) == [plain_id(kind, content) for content in contents]


def test_the_library_that_is_loaded_has_the_check():
    """A build with another SHA-1 would give the same ids and find nothing."""
    object_id("blob", b"")
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgit2" in line}
    assert any(b"SHA1 collision attack detected" in Path(path).read_bytes() for path in loaded)


def refuse(*_: object) -> None:
    raise pygit2.GitError("SHA1 collision attack detected")


@pytest.mark.parametrize(
    ("stands_in", "make", "what"),
    [
        ("_hash_blob", lambda: blob_oid(b"content"), "a git blob of 7 bytes"),
        ("_hash_other", lambda: commit_oid(b"tree"), "a git commit of 4 bytes"),
        ("_hash_other", lambda: tree_oid([(RepoPath("a"), "100644", blob_oid(b""))]), "a git tree of 29 bytes"),
    ],
)
def test_what_it_finds_is_refused(monkeypatch, stands_in, make, what):
    monkeypatch.setattr(git_sha1, stands_in, refuse)
    with pytest.raises(CollisionAttackError, match=what) as caught:
        make()
    assert caught.value.got == "SHA1 collision attack detected"


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 5000])
def test_large_files_are_checked_where_they_lie(tmp_path, monkeypatch, size):
    monkeypatch.setattr(hashing, "MAX_KEPT", 1000)
    path, content = tmp_path / "file", bytes(range(256)) * 20
    path.write_bytes(content[:size])
    found = hash_file(path, piece_length=1 << 18, padded=False)
    assert found.git_blob.raw == plain_id("blob", content[:size])
    if size > 1000:
        monkeypatch.setattr(pygit2, "hashfile", refuse)
        with pytest.raises(CollisionAttackError, match=f"the plain file {path}"):
            hash_file(path, piece_length=1 << 18, padded=False)
        monkeypatch.setattr(pygit2, "hashfile", lambda _: pygit2.Oid(bytes(20)))
        with pytest.raises(FileChangedError):
            hash_file(path, piece_length=1 << 18, padded=False)
        assert hash_file(path, piece_length=1 << 18, padded=False, git_blob=False).git_blob is None
