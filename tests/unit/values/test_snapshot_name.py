"""How people name a snapshot."""

from __future__ import annotations

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_name import SnapshotName

ONE = SnapshotId(RepoId("Qwen/Tiny"), CommitId.parse("ab" * 20))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Qwen/Tiny", True),
        (f"Qwen/Tiny@{'ab' * 20}", True),
        ("Qwen/Tiny@abababa", True),
        (" Qwen/Tiny@ABABABAB ", True),
        ("Qwen/Tiny@abababc", False),
        ("Qwen/Tinier@abababa", False),
    ],
)
def test_it_names_what_begins_like_it(text, names):
    assert SnapshotName.parse(text).names(ONE) is names


@pytest.mark.parametrize(
    "text", ["Tiny", "Qwen/Tiny@", "Qwen/Tiny@abab", "Qwen/Tiny@main", f"Qwen/Tiny@{'ab' * 21}", ""]
)
def test_what_names_nothing(text):
    with pytest.raises(FormatError):
        SnapshotName.parse(text)
