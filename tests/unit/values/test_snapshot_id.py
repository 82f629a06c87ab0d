import pytest
from hypothesis import given

from p2pqwen.errors import FormatError
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.strategies import snapshot_ids

COMMIT = "ab" * 20


@given(snapshot_ids)
def test_what_is_printed_is_read_back(snapshot):
    assert SnapshotId.parse(str(snapshot)) == snapshot


@pytest.mark.parametrize("text", ["Qwen/Qwen3-0.6B", "a/b", "01-ai/Yi_1.5", "a/" + "x" * 94])
def test_repositories(text):
    repo = RepoId(text)
    assert f"{repo.org}/{repo.name}" == str(repo) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/", "/b", "a/b/c", "a//b", "a/../b", "a/..", "./b", "a/-b", "a/b-", "a/b.", "a/.b", "a/b--c", "a/b..c",
     "a/b.git", "a/b c", "a/b\n", "a/é", "a\\b/c", "a/b@c", "a/" + "x" * 95],
)  # fmt: skip
def test_what_is_no_repository(text):
    with pytest.raises(FormatError, match="not a repository name"):
        RepoId(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dataset/Qwen/Rows", "datasets/Qwen/Rows"),
        ("dataset:Qwen/Rows", "datasets/Qwen/Rows"),
        ("datasets:Qwen/Rows", "datasets/Qwen/Rows"),
        ("models/Qwen/Qwen3", "Qwen/Qwen3"),
        ("hf:Qwen/Qwen3", "Qwen/Qwen3"),
        ("ms:Qwen/Qwen3", "modelscope:Qwen/Qwen3"),
        ("ModelScope/Qwen/Qwen3", "modelscope:Qwen/Qwen3"),
        ("https://huggingface.co/Qwen/Qwen3", "the name alone"),
        ("models/Qwen", None),
        ("ms:Qwen", None),
        ("Qwen", None),
    ],
)
def test_other_spellings_are_answered_with_the_right_one(text, meant):
    with pytest.raises(FormatError) as caught:
        RepoId.parse(text)
    hint = caught.value.hint
    assert hint is None if meant is None else hint is not None and meant in hint
    if meant is not None and "alone" not in meant:
        assert hint == f"it is written {RepoId.parse(meant)}"


@pytest.mark.parametrize(
    "text",
    [
        "Qwen/Qwen3",
        "Qwen/Qwen3@",
        "Qwen/Qwen3@main",
        f"@{COMMIT}",
        f"Qwen/Qwen3@{COMMIT}@",
        f"Qwen/Qwen3@{COMMIT.upper()}",
    ],
)
def test_what_is_no_snapshot(text):
    with pytest.raises(FormatError):
        SnapshotId.parse(text)


def test_order_is_by_repository_then_commit():
    ids = [f"a/b@{COMMIT}", f"a/c@{'0' * 40}", f"a/c@{COMMIT}"]
    assert sorted(map(SnapshotId.parse, reversed(ids))) == list(map(SnapshotId.parse, ids))


def test_the_short_name():
    assert SnapshotId.parse("Qwen/Tiny@" + "c0ffee" * 6 + "c0de").short == "Qwen/Tiny@c0ffeec"
