"""Sample answers of operations, for tests that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from p2pqwen.index.standing import Standing
from p2pqwen.library.snapshots import State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.values.snapshot_id import SnapshotId


def fetch_answer(snapshot: SnapshotId, **changes: Any) -> FetchAnswer:
    """Return a possible answer of a fetch of this snapshot."""
    given: dict[str, Any] = {
        "path": Path("/library") / str(snapshot.commit),
        "size": 10,
        "bytes_from_peers": 10,
        "bytes_from_web_seeds": 0,
        "bytes_reused": 0,
        "seconds": 0.5,
        "verified": True,
        "provenance": Provenance.PROVEN,
        "standing": Standing.PROVEN,
        "standing_words": "proven, the files are the git commit's",
        "vouched_by": (),
        "trusted_unverified": False,
        "hf_cache": None,
        "torrent": Path("/library") / f"{snapshot.commit}.torrent",
        "state": State.COMPLETE,
        "unchanged": False,
        "torrent_from": "the index of Me",
        "torrent_by": "a file",
        "signers": (),
        "web_seeds": (),
        "warnings": (),
    }
    return FetchAnswer(snapshot, **given | changes)
