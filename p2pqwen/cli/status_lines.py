"""`status` without a terminal: a line for each snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from p2pqwen.operations.control.status import Status
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.values.byte_size import format_rate
from p2pqwen.values.plural import plural


def plain_lines(found: Status, more: Mapping[str, str]) -> Iterable[str]:
    """Return a line for each row, for use without a terminal; `more` adds words by `org/model@commit`."""
    for row in found.rows:
        parts = [
            f"{row.id.short}  {state_words(row)}",
            row.standing,
            plural(row.peers, "peer"),
            f"up {format_rate(row.upload_rate)}",
            f"down {format_rate(row.download_rate)}" if row.download_rate else "",
            f"ratio {row.ratio:.2f}",
            "" if row.health == "good" else row.health,
            f"scrubbed {row.last_scrub}" if row.last_scrub else "",
            more.get(str(row.id), ""),
        ]
        yield ", ".join(part for part in parts if part)


def state_words(row: SnapshotState) -> str:
    """Return the state of a snapshot, with its progress."""
    if row.state == "seeding" and not row.is_whole:
        return "seeding part"
    return row.state if row.progress == 1.0 or row.state == "away" else f"{row.state} {row.progress:.0%}"
