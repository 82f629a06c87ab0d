"""A snapshot's last known state on the Hub, as answers show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.stewardship.upstream import UpstreamRecord


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """A snapshot's state on the Hub: since when, when the Hub was asked, and when the snapshot was last there."""

    upstream: Upstream = Upstream.UNKNOWN
    upstream_since: datetime | None = None
    upstream_looked: datetime | None = None
    upstream_last_present: datetime | None = None

    @classmethod
    def of(cls, record: UpstreamRecord | None) -> UpstreamAnswer:
        """Return what is known; None: it was never asked."""
        return cls() if record is None else cls(record.state, record.since, record.looked, record.last_present)
