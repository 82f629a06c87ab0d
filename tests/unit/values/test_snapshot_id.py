import pytest
from hypothesis import given

from p2pqwen.errors import FormatError
from p2pqwen.values.snapshot_id import RepoId, SnapshotId, whole_name
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


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Qwen/Tiny@c0ffeec", "Qwen/Tiny@" + "c0ffee" * 6 + "c0de"),
        ("Qwen/Tiny@c0ffeec0ffe", "Qwen/Tiny@" + "c0ffee" * 6 + "c0de"),
        ("Qwen/Tiny@c0ffee", "Qwen/Tiny@c0ffee"),  # shorter than what is shown
        ("Qwen/Tiny@1111111", "Qwen/Tiny@1111111"),  # names two
        ("Qwen/Tiny@2222222", "Qwen/Tiny@2222222"),  # names none
        ("Qwen/Tiny", "Qwen/Tiny"),
        ("magnet:?x@y", "magnet:?x@y"),
    ],
)
def test_a_shortened_commit_names_the_one_snapshot_it_fits(typed, meant):
    commits = ("c0ffee" * 6 + "c0de", "1" * 40, "1" * 39 + "2")
    assert whole_name(typed, [SnapshotId.parse(f"Qwen/Tiny@{one}") for one in commits]) == meant
    assert SnapshotId.parse(f"Qwen/Tiny@{commits[0]}").short == "Qwen/Tiny@c0ffeec"
