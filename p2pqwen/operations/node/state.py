"""What a running node says of itself, in a small file that it rewrites every second and that `status` reads.

The node's lock, not the file, tells whether it runs: the system frees the lock however the node ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.containment import each, warn
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Report, ignore
from p2pqwen.index.standing import Standing
from p2pqwen.index.withdrawals import Withdrawn, WithdrawnAnswer
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.operations.node.preferences import Choice, Transfer
from p2pqwen.operations.verify.scrub_record import ScrubRecord
from p2pqwen.operations.verify.standings import Stood
from p2pqwen.portable.files import allocated
from p2pqwen.values.json_value import FLAT, from_json, object_json
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.utc_time import format_time

if TYPE_CHECKING:
    from p2pqwen.torrent.metainfo import Metainfo

MAX_STATE_BYTES = 16 << 20
_SERVED = frozenset({"seeding", "damaged", "complete", "partial", "paused"})


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """One snapshot's row: `progress` from 0 to 1, rates in bytes a second.

    Of the peers, `utp_peers` are connected by uTP and `webrtc_peers` by WebRTC, the others by TCP.
    """

    id: SnapshotId = field(metadata=FLAT)
    state: str
    progress: float = 0.0
    peers: int = 0
    seeds: int = 0
    download_rate: int = 0
    upload_rate: int = 0
    uploaded: int = 0  # since the node started
    size: int = 0
    held_bytes: int = 0  # of the wanted files: `size`, or less for a partial snapshot
    uploaded_ever: int = 0
    priority: str = "normal"
    last_scrub: str | None = None  # when the last complete scrub ended
    damaged_files: int = 0  # that it found
    standing: str = Standing.UNVOUCHED.value  # until it has a torrent
    trusted_unverified: bool = False
    utp_peers: int = 0
    webrtc_peers: int = 0
    pinned: bool = False
    withdrawn: tuple[WithdrawnAnswer, ...] = ()  # by which trusted publishers, and why

    @property
    def is_whole(self) -> bool:
        """Whether every file of the snapshot is wanted, not only chosen ones."""
        return self.held_bytes in {0, self.size}

    @property
    def rate(self) -> int:
        """Bytes a second in both directions."""
        return self.upload_rate + self.download_rate

    @property
    def health(self) -> str:
        """How our own copy is: good, damaged, changed (to be verified again), unfinished, away (no disk), unusable."""
        if self.damaged_files or self.state == "damaged":
            return "damaged"
        if self.state in {"away", "checking", "changed"}:
            return self.state
        if self.state == "skipped":
            return "unusable"
        return "good" if self.progress == 1.0 else "unfinished"

    def with_memory(self, choice: Choice, sent: Transfer, scrub: ScrubRecord, *, unbooked: int = 0) -> SnapshotState:
        """Return the row with what is remembered of the snapshot; `unbooked` bytes were sent but not yet counted."""
        return replace(
            self,
            state="paused" if choice.paused and self.state in _SERVED else self.state,
            priority=choice.priority.value,
            pinned=choice.pinned,
            uploaded_ever=sent.uploaded + unbooked,
            last_scrub=None if scrub.finished is None else format_time(scrub.finished),
            damaged_files=len(scrub.damage),
        )

    def with_withdrawals(self, said: Sequence[Withdrawn], *, seeded: bool) -> SnapshotState:
        """Return the row with who withdrew the snapshot; if it is not `seeded` for that reason, its state says so."""
        state = self.state if seeded or self.state not in _SERVED else "withdrawn"
        return replace(self, state=state, withdrawn=tuple(one.answer for one in said)) if said else self

    def with_standing(self, stood: Stood | None) -> SnapshotState:
        """Return the row with the snapshot's standing."""
        return (
            self
            if stood is None
            else replace(self, standing=stood.standing.value, trusted_unverified=stood.trusted_unverified)
        )

    @property
    def ratio(self) -> float:
        """How many times over the snapshot was uploaded."""
        return round(self.uploaded_ever / (self.held_bytes or self.size), 3) if self.size else 0.0

    @property
    def row(self) -> SnapshotRow:
        """The row of `status --json`."""
        return SnapshotRow(self, self.ratio, self.health)


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A snapshot's state with what is derived from it."""

    state: SnapshotState = field(metadata=FLAT)
    ratio: float
    health: str


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A running node: its process, and where it accepts peers."""

    pid: int
    listen: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """A running node and its snapshots."""

    node: NodeAddress
    snapshots: tuple[SnapshotState, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """The content of the file."""

    node: NodeAddress = field(metadata=FLAT)
    snapshots: tuple[SnapshotRow, ...]


def write_state(path: Path, state: NodeState) -> None:
    """Replace the file, so that a reader sees one whole state; raises `DiskError`. Not synced: it is soon outdated."""
    document = _Document(state.node, tuple(row.row for row in state.snapshots))
    durable.write(path, json.dumps(object_json(document)).encode(), sync=False)


def node_status(
    library: Library, home: Home, report: Report = ignore, *, node: NodeState | None = None
) -> tuple[NodeState | None, list[SnapshotState]]:
    """Return the running node, None if none runs, and a row for every snapshot of the library.

    `node` is what it just said of itself; if None, what it wrote last is read.
    """
    if node is None and durable.is_locked(home.locks / "node.lock"):
        node = _read_state(home.node_state)
    live = {row.id: row for row in node.snapshots} if node is not None else {}
    rows = [live.get(held.id) or _at_rest(library, held, report) for held in library.all()]
    rows += [SnapshotState(id=one.id, state="away", size=one.size) for one in library.away()]
    known = {row.id for row in rows}
    rows += [row for snapshot, row in live.items() if snapshot not in known]  # a fetch that has just begun
    return node, sorted(rows, key=lambda row: row.id)


def _at_rest(library: Library, held: HeldSnapshot, report: Report) -> SnapshotState:
    found = each([held], partial(_read_at_rest, library), failed=warn(report, attrgetter("torrent_path")))
    return found[0] if found else SnapshotState(id=held.id, state=held.state.value)


def _read_at_rest(library: Library, held: HeldSnapshot) -> SnapshotState:
    metainfo = held.metainfo()
    progress = _on_disk(held, metainfo) if held.state is State.INCOMPLETE else 1.0
    state = library.state(held, metainfo.infohash.v2, metainfo.layout.total_size).value
    size, here = metainfo.layout.total_size, held.held_bytes(metainfo)
    return SnapshotState(id=held.id, state=state, progress=progress, size=size, held_bytes=here)


def _on_disk(held: HeldSnapshot, metainfo: Metainfo) -> float:
    """Estimate how much of an unfinished fetch has arrived from the blocks its sparse files have."""
    total = metainfo.layout.total_size
    paths = [(held.folder / file.path.text, file.size) for file in metainfo.files]
    here = sum(min(size, allocated(path)) for path, size in paths if path.is_file())
    return min(here / total, 0.9999) if total else 0.0


def _read_state(path: Path) -> NodeState | None:
    try:
        read = from_json(_Document, json.loads(durable.read(path, max_bytes=MAX_STATE_BYTES)))
        return NodeState(read.node, tuple(row.state for row in read.snapshots))
    except (P2pqwenError, ValueError, RecursionError):
        return None  # a node that is just starting or stopping
