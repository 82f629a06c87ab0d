"""The commit object and tree of repositories on disk, whole, partial, foreign and damaged."""

from __future__ import annotations

import subprocess

import pytest

from p2pqwen.demo.hub_repository import HubRepository
from p2pqwen.errors import DiskError, FormatError, NotFoundError, UsageError, VerificationError
from p2pqwen.hub.git_commit import commit_object, tree_rows
from p2pqwen.manifest.git_object import commit_oid, commit_tree, tree_oid
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.git_http_backend import write_bare
from tests.simulators.sample import REPO, write_sample

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(folder, *arguments, **settings):
    environment = ENVIRONMENT | {"HOME": str(folder)}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, env=environment, timeout=60, **settings).stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    root = tmp_path_factory.mktemp("git")
    repository = HubRepository(RepoId(REPO))
    repository.commit(write_sample(root / "one"))
    commit = repository.commit(write_sample(root / "two", weights=b"second"), executable=("config.json",))
    write_bare(repository, root / "bare")
    return root / "bare", commit


def check(source, commit):
    raw, rows = commit_object(str(source), commit), tree_rows(str(source), commit)
    assert commit_oid(raw) == commit
    assert tree_oid(rows) == commit_tree(raw)
    return rows


def test_a_bare_repository(bare):
    path, commit = bare
    rows = check(path, commit)
    assert {str(name): mode for name, mode, _ in rows if mode != "100644"} == {"config.json": "100755"}
    assert [name for name, _, _ in rows] == sorted(name for name, _, _ in rows)


@pytest.mark.parametrize("pack", [True, False], ids=["packed", "loose"])
@pytest.mark.parametrize("arguments", [(), ("--depth=1",)], ids=["whole", "shallow"])
def test_a_clone(bare, tmp_path, arguments, pack):
    path, commit = bare
    git(tmp_path, "clone", "-q", *arguments, f"file://{path}", "clone")
    if pack:
        git(tmp_path / "clone", "gc", "-q", "--aggressive")
    check(tmp_path / "clone", commit)


def test_a_worktree(bare, tmp_path):
    path, commit = bare
    git(tmp_path, "clone", "-q", f"file://{path}", "clone")
    git(tmp_path / "clone", "worktree", "add", "-q", str(tmp_path / "tree"), str(commit))
    check(tmp_path / "tree", commit)


def test_signed_commits_and_odd_messages_keep_their_bytes(tmp_path):
    git(tmp_path, "init", "-q", "work")
    tree = git(tmp_path / "work", "write-tree").decode().strip()
    raw = (
        f"tree {tree}\nauthor Zoë <z@example.org> 1700000000 +0530\ncommitter X <> 1700000000 -0000\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----\n\nmessage without a newline"
    ).encode() + b"\xff"
    found = git(tmp_path / "work", "hash-object", "-t", "commit", "-w", "--stdin", input=raw).decode().strip()
    assert commit_object(str(tmp_path / "work"), CommitId.parse(found)) == raw


def test_missing_things(bare, tmp_path):
    path, commit = bare
    with pytest.raises(NotFoundError, match="does not have commit"):
        commit_object(str(path), CommitId.parse("f" * 40))
    with pytest.raises(NotFoundError, match="not a git repository"):
        commit_object(str(tmp_path), commit)
    with pytest.raises(NotFoundError, match="no folder"):
        commit_object(str(tmp_path / "nowhere"), commit)
    with pytest.raises(UsageError):
        commit_object("ssh://example.org/x", commit)


def test_an_object_that_is_not_a_commit(bare):
    path, commit = bare
    tree = git(path, "rev-parse", f"{commit}^{{tree}}").decode().strip()
    with pytest.raises(VerificationError, match="is not a commit"):
        commit_object(str(path), CommitId.parse(tree))


def test_a_clone_without_trees_says_so(bare, tmp_path):
    path, commit = bare
    git(path, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=tree:0", f"file://{path}", "partial")
    assert commit_oid(commit_object(str(tmp_path / "partial"), commit)) == commit
    with pytest.raises(NotFoundError, match="lacks a tree"):
        tree_rows(str(tmp_path / "partial"), commit)


def test_another_object_under_the_commits_name(tmp_path):
    git(tmp_path, "init", "-q", "work")
    work = tmp_path / "work"
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    one = git(work, "rev-parse", "HEAD").decode().strip()
    git(work, "commit", "-q", "--allow-empty", "-m", "two")
    two = git(work, "rev-parse", "HEAD").decode().strip()
    objects = work / ".git" / "objects"
    target = objects / one[:2] / one[2:]
    target.chmod(0o644)
    target.write_bytes((objects / two[:2] / two[2:]).read_bytes())
    with pytest.raises(VerificationError):
        commit_object(str(work), CommitId.parse(one))


def test_a_damaged_object_is_a_clear_error(tmp_path):
    git(tmp_path, "init", "-q", "work")
    work = tmp_path / "work"
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    one = git(work, "rev-parse", "HEAD").decode().strip()
    target = work / ".git" / "objects" / one[:2] / one[2:]
    target.chmod(0o644)
    target.write_bytes(b"not zlib")
    with pytest.raises((FormatError, DiskError)):
        commit_object(str(work), CommitId.parse(one))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("160000 commit " + "1" * 40 + "\tother\n", id="submodule"),
        pytest.param("100644 blob {blob}\ta\\b\n", id="backslash"),
        pytest.param('100644 blob {blob}\t"a\\033b"\n', id="control character"),
        pytest.param('100644 blob {blob}\t"a\\377b"\n', id="not UTF-8"),
    ],
)
def test_what_is_no_part_of_a_snapshot_is_refused(tmp_path, entry):
    git(tmp_path, "init", "-q", "work")
    work = tmp_path / "work"
    blob = git(work, "hash-object", "-w", "--stdin", input=b"x").decode().strip()
    tree = git(work, "mktree", "--missing", input=entry.format(blob=blob).encode()).decode().strip()
    commit = CommitId.parse(git(work, "commit-tree", tree, "-m", "odd").decode().strip())
    assert commit_tree(commit_object(str(work), commit)).raw.hex() == tree
    with pytest.raises(FormatError):
        tree_rows(str(work), commit)
