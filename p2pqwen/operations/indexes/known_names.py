"""The names of snapshots that a user may want to type: those held, and those that trusted indexes list.

They are only suggestions. If the database of an index is lost, its file is read without verifying its signatures, which
would take seconds for a large one; the command that uses a name verifies them. A name is a `SnapshotId`, whose
constructor refuses every character that a shell or a terminal would act on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import P2pqwenError
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.library import durable
from p2pqwen.library.index_rows.beside import listing_beside
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId

if TYPE_CHECKING:
    from pathlib import Path

    from p2pqwen.library.snapshots import Library
    from p2pqwen.library.trust_store import TrustStore


def held_names(library: Library) -> frozenset[SnapshotId]:
    """Return the snapshots that the library holds, on the disks that are connected."""
    return frozenset(one.id for one in library.all())


def listed_names(trust: TrustStore, beginning: str = "") -> frozenset[SnapshotId]:
    """Return the snapshots in the stored indexes of trusted publishers whose names start with `beginning`.

    An index that cannot be read lists none.
    """
    return frozenset(name for one in trust.ids() for name in _in_index(trust.index_path(one), beginning))


def matching(names: frozenset[SnapshotId], beginning: str) -> list[str]:
    """Return the sorted completions of `beginning`: repositories, or `ORG/MODEL@COMMIT` once it contains an `@`."""
    offered = {str(one) if "@" in beginning else str(one.repo) for one in names}
    return sorted(one for one in offered if one.startswith(beginning))


def _in_index(path: Path, beginning: str) -> Iterator[SnapshotId]:
    try:
        if (listing := listing_beside(path)) is not None:
            yield from listing.names(beginning)
            return
        rows: Any = json.loads(durable.read(path, max_bytes=MAX_INDEX_SIZE))["signed"]["entries"]
    except (P2pqwenError, ValueError, LookupError, TypeError, RecursionError):
        return
    for row in rows if isinstance(rows, list) else ():
        try:
            repo = RepoId(row["repo"], RepoKind(row["repo_type"]))
            yield SnapshotId(repo, CommitId.parse(row["commit"]))
        except (P2pqwenError, LookupError, TypeError, ValueError):
            continue  # a kind of entry that this version does not know
