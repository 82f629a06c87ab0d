"""What is taken out of a published site: what was withdrawn, and no file that the index names."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pqwen.operations.publish.site import remove_withdrawn
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.publishing import Rules, chain, make_document, make_entry, withdrawal

COMMIT = CommitId.parse("a1" * 20)
LISTED, GONE = (SnapshotId(RepoId(repo), COMMIT) for repo in ("Qwen/Tiny", "qwen/tiny"))


def write(out: Path, snapshot: SnapshotId, content: bytes) -> Path:
    path = out / str(snapshot.repo) / f"{snapshot.commit}.torrent"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", [True, False], ids=["with case", "without case"])
def test_a_listed_torrent_stays_where_names_differ_in_case_alone(tmp_path, case):
    """A link stands for a file system without case: both names lead to one file."""
    entry = make_entry(1, id=LISTED)
    listed = write(tmp_path, LISTED, b"listed")
    gone = tmp_path / str(GONE.repo) / f"{COMMIT}.torrent"
    if case:
        write(tmp_path, GONE, b"gone")
    else:
        gone.parent.parent.mkdir()
        gone.parent.symlink_to(listed.parent, target_is_directory=True)
    roots = chain(Rules())
    document = make_document(roots, entries=[entry], withdrawn=(withdrawal(make_entry(2, id=GONE), "a mistake"),))
    remove_withdrawn(tmp_path, document)
    assert listed.read_bytes() == b"listed"
    assert gone.exists() is not case
