"""Where snapshots of each kind lie; the names are huggingface_hub's."""

from __future__ import annotations

import pytest
from huggingface_hub.file_download import repo_folder_name

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import HUB_KINDS, OriginName, Owner, RepoId, RepoKind, SnapshotId
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


@pytest.mark.parametrize(
    ("kind", "name", "place", "stem"),
    [
        (RepoKind.MODELSCOPE_MODEL, "modelscope:Qwen/Tiny", "@modelscope/Qwen/Tiny", "@modelscope--Qwen--Tiny@"),
        (
            RepoKind.MODELSCOPE_DATASET,
            "modelscope:datasets/Qwen/Tiny",
            "@modelscope/datasets/Qwen/Tiny",
            "@modelscope--datasets--Qwen--Tiny@",
        ),
    ],
)
def test_what_lies_on_modelscope_lies_apart(kind, name, place, stem):
    repo = RepoId("Qwen/Tiny", kind)
    assert (str(repo), RepoId.parse(name)) == (name, repo)
    assert SnapshotId.parse(f"{name}@{COMMIT}") == SnapshotId(repo, COMMIT)
    assert Owner.parse(str(repo.owner)) == repo.owner
    assert "/".join(library_parts(repo)) == place
    assert file_stem(SnapshotId(repo, COMMIT)) == stem + str(COMMIT)
    assert parse_cache_folder(cache_folder(repo)) is None  # no reader of the Hub's cache takes it for anything
    theirs = repo.at(OriginName.HUB)
    assert (theirs.kind, theirs.at(OriginName.MODELSCOPE)) == (kind.holds, repo)
    assert hub_path(repo) == hub_path(theirs)
    assert repo != theirs


@pytest.mark.parametrize("text", ["modelscope:", "modelscope:Qwen", "modelscope:modelscope:Qwen/Tiny", "hub:Qwen/Tiny"])
def test_what_is_no_repository_of_any_origin(text):
    with pytest.raises(FormatError):
        RepoId.parse(text)


def test_every_kind_has_a_place_and_a_name_of_its_own():
    repos = [RepoId("Qwen/Tiny", kind) for kind in RepoKind]
    assert len({library_parts(repo) for repo in repos}) == len({str(repo) for repo in repos}) == len(RepoKind)
    assert {kind.holds for kind in RepoKind} == set(HUB_KINDS)
