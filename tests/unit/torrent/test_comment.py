"""The comment of a torrent claims a name: read strictly, and only for the commit that the torrent is named after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pqwen.torrent.comment import claimed_snapshot, comment_of
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.snapshots import make_snapshot

TORRENT = make_snapshot()
COMMIT = TORRENT.name


def test_what_we_write_is_read_back():
    snapshot = SnapshotId(RepoId("Qwen/Tiny"), CommitId.parse(COMMIT))
    assert TORRENT.comment == comment_of(snapshot) == f"Qwen/Tiny @ {COMMIT}"
    assert claimed_snapshot(TORRENT) == snapshot


@pytest.mark.parametrize(
    ("comment", "claimed"),
    [
        (f"Qwen/Other @ {COMMIT}", "Qwen/Other"),
        (f"  Qwen/Tiny @ {COMMIT}\n", "Qwen/Tiny"),
        (None, None),
        ("", None),
        ("a model, enjoy", None),
        (f"Qwen/Tiny@{COMMIT}", None),
        (f"Qwen/Tiny @ {'0' * 40}", None),
        (f"Qwen/Tiny @ {COMMIT[:12]}", None),
        (f"../../etc @ {COMMIT}", None),
        (f"Qwen/Tiny/x @ {COMMIT}", None),
        (f"Qwen/Tiny @ {COMMIT} @ {COMMIT}", None),
    ],
)
def test_only_a_repository_and_the_commit_of_the_torrent_are_a_claim(comment, claimed):
    found = claimed_snapshot(replace(TORRENT, comment=comment))
    assert (None if found is None else (found.repo.text, str(found.commit))) == (claimed and (claimed, COMMIT))
