"""What is wrong with a node now, from its own state and from what it knows of swarms and publishers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from p2pqwen.index.upstream import Upstream
from p2pqwen.net.messages import NotSent
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusRow
from p2pqwen.operations.indexes.update import STALE_DAYS
from p2pqwen.stewardship.alerts import Alert, AlertKind, worst_first
from p2pqwen.stewardship.allocation import describe
from p2pqwen.stewardship.danger import Danger, danger_of
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.digest import Sha256
from p2pqwen.values.plural import plural
from p2pqwen.values.printable_text import printable
from p2pqwen.values.snapshot_id import SnapshotId

QUOTA_NEAR = 0.9
NAME = 80
"""Most characters shown of a publisher's name."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A library folder: the bytes that it may still take beyond its reserve, None while its disk is not connected.

    `failing`: evidence that its disk is failing.
    """

    path: str
    room: int | None
    failing: str | None = None

    @classmethod
    def all(cls, rooms: Mapping[str, int | None], failing: Mapping[str, str]) -> tuple[Folder, ...]:
        """Return the folders of a library."""
        return tuple(cls(path, room, failing.get(path)) for path, room in rooms.items())


@dataclass(frozen=True, slots=True)
class PublisherLook:
    """A trusted publisher: its name, when its index was signed, and how many files prove equivocation."""

    publisher: Sha256
    name: str
    issued: datetime | None
    evidence: int


@dataclass(frozen=True, slots=True)
class AlertsAnswer:
    """The answer of `GET /v1/alerts` and `alerts list --json`, worst first."""

    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class TriedAnswer:
    """The answer of `alerts test --json`; addresses are shown without their secrets."""

    sent: tuple[str, ...]
    failed: tuple[NotSent, ...]


def of_status(status: NodeStatusAnswer, folders: Iterable[Folder]) -> tuple[Alert, ...]:
    """Return what is wrong with disks, snapshots and limits, worst first."""
    found = []
    for one in folders:
        if one.failing is not None:
            found.append(Alert("danger", one.path, f"its disk is failing: {one.failing}", AlertKind.FAILING))
        if one.room is None:
            found.append(Alert("danger", one.path, "its disk is not connected", AlertKind.DISK))
        elif one.room == 0:
            found.append(Alert("warning", one.path, "no room beyond the reserve", AlertKind.ROOM))
    for row in status.snapshots:
        found += _of_row(row)
    limits = status.limits
    if limits.monthly_upload and limits.uploaded_this_month >= QUOTA_NEAR * limits.monthly_upload:
        used, quota = format_size(limits.uploaded_this_month), format_size(limits.monthly_upload)
        found.append(Alert("warning", "", f"{used} of this month's {quota} were sent", AlertKind.QUOTA))
    if limits.reason:
        found.append(Alert("warning", "", limits.reason, AlertKind.HELD_BACK))
    return worst_first(found)


def _of_row(row: StatusRow) -> list[Alert]:
    state, is_damaged = row.row.state, row.row.health == "damaged"
    if not (is_damaged or row.upstream.upstream is Upstream.GONE or state.withdrawn):
        return []  # the case of nearly all rows, at every look
    name, found = str(state.id), []
    if is_damaged:
        words = plural(state.damaged_files, "damaged file")
        verb = "was" if state.damaged_files == 1 else "were"
        found.append(Alert("danger", name, f"{words} {verb} found", AlertKind.DAMAGE))
    if row.upstream.upstream is Upstream.GONE:
        place = state.id.repo.kind.origin.words
        found.append(Alert("warning", name, f"{place} no longer serves it", AlertKind.GONE))
    by = [printable(one.name, limit=NAME) for one in state.withdrawn]
    found += [Alert("warning", name, f"withdrawn by {one}", AlertKind.WITHDRAWN) for one in by]
    return found


def of_swarms(swarms: Mapping[SnapshotId, SwarmHealth], now: datetime) -> tuple[Alert, ...]:
    """Return the held snapshots of which too few copies were seen elsewhere."""
    found = []
    for snapshot, health in sorted(swarms.items()):
        danger = danger_of(health, now)
        if danger is Danger.LOST:
            words = "nobody else was seen to have it: this may be the last copy"
            found.append(Alert("danger", str(snapshot), words, AlertKind.LAST_COPY))
        elif danger in {Danger.CRITICAL, Danger.ENDANGERED}:
            words = f"{danger}: {describe(snapshot, health, now)}"
            found.append(Alert("warning", str(snapshot), words, AlertKind.ENDANGERED))
    return worst_first(found)


def of_publishers(publishers: Iterable[PublisherLook], now: datetime) -> tuple[Alert, ...]:
    """Return the publishers that signed two histories, and those whose index has not been signed for months."""
    found = []
    for one in publishers:
        name, key = printable(one.name, limit=NAME), str(one.publisher)
        if one.evidence:
            words = f"its keys signed two histories; {plural(one.evidence, 'file')} of evidence kept"
            found.append(Alert("danger", name, words, AlertKind.EQUIVOCATION, key))
        if one.issued is not None and (now - one.issued).days > STALE_DAYS:
            words = f"its index was last signed {(now - one.issued).days} days ago"
            found.append(Alert("warning", name, words, AlertKind.STALE, key))
    return worst_first(found)
