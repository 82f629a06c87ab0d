"""Where snapshots of each kind lie; the names are huggingface_hub's."""

from __future__ import annotations

import pytest
from huggingface_hub.file_download import repo_folder_name

from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.snapshot_place import (
    api_path,
    cache_folder,
    file_stem,
    hub_path,
    library_parts,
    parse_cache_folder,
)

COMMIT = CommitId.parse("a" * 40)
MODEL, DATASET = RepoId("Qwen/Qwen3-0.6B"), RepoId("Qwen/PolyMath", RepoKind.DATASET)


@pytest.mark.parametrize(
    ("repo", "url", "api", "parts", "stem"),
    [
        (MODEL, "Qwen/Qwen3-0.6B", "models/Qwen/Qwen3-0.6B", ("Qwen", "Qwen3-0.6B"), "Qwen--Qwen3-0.6B@" + "a" * 40),
        (
            DATASET,
            "datasets/Qwen/PolyMath",
            "datasets/Qwen/PolyMath",
            ("datasets", "Qwen", "PolyMath"),
            "datasets--Qwen--PolyMath@" + "a" * 40,
        ),
    ],
    ids=["model", "dataset"],
)
def test_where_it_lies(repo, url, api, parts, stem):
    assert (hub_path(repo), api_path(repo), library_parts(repo)) == (url, api, parts)
    assert file_stem(SnapshotId(repo, COMMIT)) == stem
    assert str(repo) == url


@pytest.mark.parametrize("repo", [MODEL, DATASET], ids=["model", "dataset"])
def test_the_cache_folder_is_huggingface_hubs(repo):
    assert cache_folder(repo) == repo_folder_name(repo_id=repo.text, repo_type=repo.kind)
    assert parse_cache_folder(cache_folder(repo)) == repo


@pytest.mark.parametrize(
    "name", ["", "models", "models--Qwen", "spaces--Qwen--x", "models--..--x", "version.txt", ".locks"]
)
def test_folders_of_nobody(name):
    assert parse_cache_folder(name) is None


def test_one_name_of_two_kinds_is_two_repositories():
    assert RepoId("Qwen/x") != RepoId("Qwen/x", RepoKind.DATASET)
    assert min(RepoId("Qwen/x"), RepoId("Qwen/x", RepoKind.DATASET)).kind is RepoKind.DATASET
