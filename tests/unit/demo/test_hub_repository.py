"""The local Hub's repositories are git's: the same ids as `git` gives the same files."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from p2pqwen.demo.hub_repository import HubRepository
from p2pqwen.errors import NotFoundError
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.git_http_backend import write_bare
from tests.simulators.sample import REPO, WEIGHTS, WEIGHTS_SIZE, write_sample


@pytest.fixture
def repository(tmp_path):
    repository = HubRepository(RepoId(REPO))
    repository.commit(write_sample(tmp_path / "files"))
    return repository


def git(folder, *arguments):
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, timeout=60).stdout


def test_git_reads_it_and_finds_nothing_wrong(repository, tmp_path):
    commit = repository.branches["main"]
    write_bare(repository, tmp_path / "bare")
    git(tmp_path / "bare", "fsck", "--strict")
    listed = git(tmp_path / "bare", "-c", "core.quotePath=false", "ls-tree", "-r", str(commit)).decode().splitlines()
    expected = [
        f"100644 blob {file.blob_id}\t{path}"
        for path, file in sorted(repository.commits[commit].items(), key=lambda item: item[0].encode())
    ]
    assert sorted(listed) == sorted(expected)


def test_the_same_folder_gives_the_same_commit(repository, tmp_path):
    other = HubRepository(RepoId("Other/Name"))
    assert other.commit(write_sample(tmp_path / "again")) == repository.branches["main"]


def test_lfs_files_are_pointers_in_git(repository):
    commit = repository.branches["main"]
    file = repository.commits[commit][WEIGHTS]
    sha256 = hashlib.sha256(hashlib.shake_256(b"weights").digest(WEIGHTS_SIZE)).hexdigest()
    assert file.sha256 == sha256
    assert file.pointer.decode().splitlines() == [
        "version https://git-lfs.github.com/spec/v1",
        f"oid sha256:{sha256}",
        f"size {WEIGHTS_SIZE}",
    ]
    assert repository.objects[file.blob_id.encode()].data == file.pointer


def test_an_empty_file_is_never_lfs(tmp_path):
    folder = write_sample(tmp_path / "files", weights=b"")
    repository = HubRepository(RepoId(REPO))
    assert repository.commits[repository.commit(folder)][WEIGHTS].sha256 is None


def test_revisions(repository, tmp_path):
    first = repository.branches["main"]
    repository.tags["v1"] = first
    second = repository.commit(write_sample(tmp_path / "next", weights=b"other"), branch="next")
    cases = {"main": first, "v1": first, "next": second, str(second): second, str(first)[:8]: first}
    assert {name: repository.resolve(name) for name in cases} == cases
    for missing in ("nosuch", "f" * 40, str(first)[:5]):
        with pytest.raises(NotFoundError):
            repository.resolve(missing)
