"""Our object ids against those of git itself and of dulwich."""

import os
import subprocess
from pathlib import Path

import pytest
from dulwich.index import commit_tree as dulwich_commit_tree
from dulwich.object_store import MemoryObjectStore
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_object import (
    MAX_COMMIT_OBJECT,
    blob_hasher,
    blob_oid,
    commit_oid,
    commit_time,
    commit_tree,
    tree_oid,
)
from p2pqwen.values.digest import GitOid
from p2pqwen.values.repo_path import RepoPath
from tests.strategies import git_oids, path_lists

OID = GitOid.parse("01" * 20)
AUTHOR = b"author A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n\nmessage\n"


def git(folder: Path, *arguments: str) -> bytes:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    return subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True).stdout


def test_a_repository_made_by_git(tmp_path):
    files = {
        "README.md": (b"# hello\n", "100644"),
        "run.sh": (b"#!/bin/sh\n", "100755"),
        "empty": (b"", "100644"),
        "model/config.json": (b"{}", "100644"),
        "model.safetensors": (b"\0" * 1000, "100644"),
        "model-00001.safetensors": (b"\1" * 1000, "100644"),
        "a/b/c/deep.txt": (b"deep", "100644"),
        "a.b": (b"between", "100644"),
        "模型/é.txt": ("ü".encode(), "100644"),
    }
    git(tmp_path, "init", "-q")
    for path, (data, mode) in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(int(mode[-3:], 8))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")

    raw = git(tmp_path, "cat-file", "commit", "HEAD")
    assert str(commit_oid(raw)) == git(tmp_path, "rev-parse", "HEAD").decode().strip()
    rows = [(RepoPath(path), mode, blob_oid(data)) for path, (data, mode) in files.items()]
    assert str(tree_oid(rows)) == git(tmp_path, "rev-parse", "HEAD^{tree}").decode().strip()
    assert commit_tree(raw) == tree_oid(rows)


@given(path_lists(max_size=12), st.data())
def test_trees_are_those_of_dulwich(paths, data):
    rows = [(path, data.draw(st.sampled_from(["100644", "100755", "120000"])), data.draw(git_oids)) for path in paths]
    theirs = dulwich_commit_tree(
        MemoryObjectStore(), [(path.text.encode(), str(oid).encode(), int(mode, 8)) for path, mode, oid in rows]
    )
    assert str(tree_oid(rows)).encode() == theirs


@pytest.mark.parametrize(
    ("paths", "problem"),
    [(["a", "a"], "there already"), (["a", "a/b"], "where there is a file"), (["a/b", "a"], "there already")],
)
def test_trees_that_cannot_be(paths, problem):
    with pytest.raises(FormatError, match=problem):
        tree_oid((RepoPath(path), "100644", OID) for path in paths)


def test_blobs():
    assert str(blob_oid(b"")) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    hasher = blob_hasher(11)
    hasher.update(b"hello")
    hasher.update(b" world")
    assert hasher.hexdigest() == str(blob_oid(b"hello world")) == "95d09f2b10159347eece71399a7e2e907ea3df4f"


@pytest.mark.parametrize("parents", [b"", b"parent " + b"23" * 20 + b"\n"])
def test_the_tree_of_a_commit(parents):
    assert commit_tree(b"tree " + b"01" * 20 + b"\n" + parents + AUTHOR) == OID


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"tree " + b"01" * 20,
        b"tree " + b"01" * 20 + b"\n",
        b"tree " + b"01" * 20 + b"\n\nauthor in the message",
        b"tree " + b"01" * 19 + b"0\n" + AUTHOR,
        b"tree " + b"AB" * 20 + b"\n" + AUTHOR,
        b"tree  " + b"01" * 20 + b"\n" + AUTHOR,
        b" tree " + b"01" * 20 + b"\n" + AUTHOR,
        b"parent " + b"01" * 20 + b"\ntree " + b"01" * 20 + b"\n" + AUTHOR,
        b"commit 200\0tree " + b"01" * 20 + b"\n" + AUTHOR,
        b"tree " + b"01" * 20 + b"\n" + AUTHOR + b"x" * MAX_COMMIT_OBJECT,
    ],
)
def test_what_is_no_commit_object(raw):
    with pytest.raises(FormatError, match="not a git commit object"):
        commit_tree(raw)


@pytest.mark.parametrize(
    ("seconds", "year"),
    [("0", 1970), ("1795467600", 2026), ("253402300800", None), ("999999999999", None), ("x", None)],
)
def test_168_a_commits_time_is_one_that_a_clock_shows(seconds, year):
    raw = f"tree {'0' * 40}\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> {seconds} +0000\n\nx\n"
    found = commit_time(raw.encode())
    assert (None if found is None else found.year) == year
