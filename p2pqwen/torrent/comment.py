"""The `comment` of a torrent: `<repo> @ <commit>`, which clients show to people (SPEC section 3).

No hash and no signature covers it. So it is only a claim, like a link's `dn`: useful if nothing else names the
snapshot, but never evidence.
"""

from __future__ import annotations

from p2pqwen.errors import FormatError
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

_BETWEEN = " @ "


def comment_of(snapshot: SnapshotId) -> str:
    """Return the comment of a snapshot's torrent."""
    return f"{snapshot.repo}{_BETWEEN}{snapshot.commit}"


def claimed_snapshot(metainfo: Metainfo) -> SnapshotId | None:
    """Return the snapshot that a torrent's comment claims, None without a claim or if it is of another commit."""
    repo, between, commit = (metainfo.comment or "").strip().partition(_BETWEEN)
    if not between:
        return None
    try:
        claimed = SnapshotId(RepoId.parse(repo), CommitId.parse(commit))
    except FormatError:
        return None
    return claimed if str(claimed.commit) == metainfo.name else None
