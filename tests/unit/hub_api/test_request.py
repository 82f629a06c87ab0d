"""What a path asks of a Hub: the URLs that real clients build, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.hub_api.request import MAX_PATH, Asked, parse_path
from p2pqwen.values.snapshot_id import RepoKind

DATASET = RepoKind.DATASET


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/models", Asked("list")),
        ("/api/models/", Asked("list")),
        ("/api/datasets", Asked("list", repo_kind=DATASET)),
        ("/api/models/o/n", Asked("info", "o/n", revision="main")),
        ("/api/models/o/n/", Asked("info", "o/n", revision="main")),
        ("/api/models/gpt2", Asked("info", "gpt2", revision="main")),
        ("/api/models/o/n/revision/refs%2Fpr%2F1", Asked("info", "o/n", revision="refs/pr/1")),
        ("/api/models/gpt2/revision/main", Asked("info", "gpt2", revision="main")),
        ("/api/models/o/n/tree/main", Asked("tree", "o/n", revision="main")),
        ("/api/models/o/n/tree/main/", Asked("tree", "o/n", revision="main")),
        ("/api/models/o/n/tree/main/a/b%20c", Asked("tree", "o/n", revision="main", path="a/b c")),
        ("/api/models/o/n/refs", Asked("refs", "o/n")),
        ("/api/models/o/n/paths-info/main", Asked("paths-info", "o/n", revision="main")),
        ("/api/resolve-cache/models/o/n/c/a/b", Asked("resolve-cache", "o/n", revision="c", path="a/b")),
        ("/o/n/resolve/main/a/b.bin", Asked("resolve", "o/n", revision="main", path="a/b.bin")),
        ("/o/n/raw/main/a", Asked("raw", "o/n", revision="main", path="a")),
        ("/gpt2/resolve/main/a", Asked("resolve", "gpt2", revision="main", path="a")),
        ("/datasets/o/n/resolve/main/a", Asked("resolve", "o/n", DATASET, "main", "a")),
        ("/o/n.git/info/refs", Asked("git", "o/n", path="info/refs")),
        ("/o/n/info/refs", Asked("git", "o/n", path="info/refs")),
        ("/o/n/git-upload-pack", Asked("git", "o/n", path="git-upload-pack")),
        ("/datasets/o/n.git/git-upload-pack", Asked("git", "o/n", DATASET, path="git-upload-pack")),
        ("/o/n.git/info/lfs/objects/batch", Asked("lfs-batch", "o/n", path="info/lfs/objects/batch")),
        ("/v2/o/n/manifests/latest", Asked("registry", "o/n", path="manifests/latest")),
        ("/v2/", Asked("registry")),
        ("/o/n/resolve/main/%2e%2e%2fx", Asked("resolve", "o/n", revision="main", path="../x")),
        ("/", Asked("other")),
        ("", Asked("other")),
        ("/api", Asked("other")),
        ("/api/whoami-v2", Asked("other")),
        ("/api/spaces/o/n", Asked("other")),
        ("/api/models/o/n/commit/main", Asked("other")),
        ("/o/n/resolve/main", Asked("other")),
        ("/o/n/git-receive-pack", Asked("other")),
        ("/" + "a" * MAX_PATH, Asked("other")),
    ],
)
def test_paths(path, asked):
    assert parse_path(path) == asked


@given(st.text(max_size=200))
def test_every_path_is_something(path):
    assert parse_path(f"/{path}").kind
