"""What leaves a publisher's list, returns to it, and stays out of it because it was withdrawn.

A withdrawn snapshot stays withdrawn, whatever the library holds, until it is reinstated by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.index.document import IndexDocument
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.values.grouping import group_by
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_name import SnapshotName


@dataclass(frozen=True, slots=True)
class ListChanges:
    """Snapshots to withdraw, with reasons, and to reinstate; `kept_out` were withdrawn before, with reasons."""

    withdraw: Mapping[SnapshotId, str] = field(default_factory=dict)
    reinstate: frozenset[SnapshotId] = frozenset()
    kept_out: Mapping[SnapshotId, str] = field(default_factory=dict)

    def may_list(self, snapshot: SnapshotId) -> bool:
        """Tell whether the next index may list a snapshot."""
        return snapshot not in self.withdraw and snapshot not in self.kept_out


def changes_of(plan: Plan, document: IndexDocument | None) -> ListChanges:
    """Find the snapshots that a plan names in the index that it continues.

    Raises `NotFoundError` for a snapshot to withdraw that is not listed and for one to reinstate that is not withdrawn,
    `UsageError` for a name that fits several.
    """
    gone = {} if document is None else {one.id: one.reason for one in document.withdrawn}
    gone_of = group_by(gone if plan.withdraw or plan.reinstate else (), attrgetter("repo"))
    listed = (entry.id for entry in document.entries) if document is not None and plan.withdraw else ()
    listed_of = group_by(listed, attrgetter("repo"))
    reinstate = frozenset(_named(name, gone_of, "reinstate", "is not withdrawn") for name in plan.reinstate)
    withdraw: dict[SnapshotId, str] = {}
    for name, reason in plan.withdraw.items():
        before = next((gone[one] for one in gone_of.get(name.repo, ()) if name.names(one)), None)
        otherwise = "the index does not list it" if before is None else f"it is withdrawn already: {before}"
        withdraw[_named(name, listed_of, "withdraw", otherwise)] = reason
    kept_out = {snapshot: reason for snapshot, reason in gone.items() if snapshot not in reinstate}
    return ListChanges(withdraw, reinstate, kept_out)


def _named(name: SnapshotName, among: Mapping[RepoId, Sequence[SnapshotId]], verb: str, otherwise: str) -> SnapshotId:
    found = sorted(one for one in among.get(name.repo, ()) if name.names(one))
    if not found:
        raise NotFoundError(f"cannot {verb} {name}: {otherwise}", hint="see `p2pqwen index show FILE`")
    if len(found) > 1:
        raise UsageError(
            f"cannot {verb} {name}: it names {plural(len(found), 'snapshot')}",
            expected="REPO@COMMIT",
            got=", ".join(map(str, found)),
        )
    return found[0]
