"""Whether the Hub still shows a snapshot, with dates: a record updated by one look after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class UpstreamRecord:
    """What is known of a snapshot on the Hub.

    `since`: when it was first seen in this state. `looked`: the last time the Hub said anything. `last_present`: the
    last time it showed the snapshot.
    """

    state: Upstream
    since: datetime
    looked: datetime
    last_present: datetime | None = None


def observe(before: UpstreamRecord | None, *, shown: bool, now: datetime) -> UpstreamRecord:
    """Add one answer of the Hub. No answer is not a look: a caller that gets none leaves the record unchanged."""
    state = Upstream.PRESENT if shown else Upstream.GONE
    last_present = now if shown else (before.last_present if before is not None else None)
    if before is None or before.state is not state:
        return UpstreamRecord(state, since=now, looked=now, last_present=last_present)
    return replace(before, looked=now, last_present=last_present)


def vanished(before: UpstreamRecord | None, after: UpstreamRecord) -> bool:
    """Tell whether this look is the first to find it gone."""
    return after.state is Upstream.GONE and (before is None or before.state is not Upstream.GONE)


def returned(before: UpstreamRecord | None, after: UpstreamRecord) -> bool:
    """Tell whether this look found it back again."""
    return after.state is Upstream.PRESENT and before is not None and before.state is Upstream.GONE


def gone_words(snapshot: SnapshotId, record: UpstreamRecord | None) -> str:
    """Return the words for a snapshot that its origin no longer shows, else the empty string."""
    if record is None or record.state is not Upstream.GONE:
        return ""
    return f"gone from {snapshot.repo.kind.origin.words} since {record.since:%Y-%m-%d}"
