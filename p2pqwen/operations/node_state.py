"""What a running node says of itself, in a small file that it writes anew every second, and reading it for `status`.

Whether the node runs is not the file's to say: its lock is, which the system frees whatever becomes of the node.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

MAX_STATE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """One snapshot's row: `progress` from 0 to 1, rates in bytes a second."""

    id: SnapshotId
    state: str
    progress: float = 0.0
    peers: int = 0
    seeds: int = 0
    download_rate: int = 0
    upload_rate: int = 0
    uploaded: int = 0  # since the node started
    size: int = 0
    uploaded_ever: int = 0
    priority: str = "normal"
    last_scrub: str | None = None  # when the last whole reading for bit rot ended
    damaged_files: int = 0  # that it found

    @property
    def ratio(self) -> float:
        """How many times over the snapshot was given away."""
        return round(self.uploaded_ever / self.size, 3) if self.size else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the row of `status --json`."""
        row = asdict(self)
        del row["id"]
        return {"repo": str(self.id.repo), "commit": str(self.id.commit), **row, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class NodeState:
    """A running node."""

    pid: int
    listen: str
    snapshots: tuple[SnapshotState, ...]


def write_state(path: Path, state: NodeState) -> None:
    """Replace the file, so that a reader sees one whole state; raises `DiskError`. Not synced: it is of this moment."""
    document = {"pid": state.pid, "listen": state.listen, "snapshots": [row.to_json() for row in state.snapshots]}
    with durable.disk_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(path)


def node_status(library: Library, home: Home, report: Report = ignore) -> tuple[NodeState | None, list[SnapshotState]]:
    """Return the running node, None if none runs, and a row for every snapshot of the library."""
    node = _read_state(home.node_state) if _is_locked(home.locks / "node.lock") else None
    live = {row.id: row for row in node.snapshots} if node is not None else {}
    rows = [live.get(held.id) or _at_rest(held, report) for held in library.all()]
    rows += [SnapshotState(id=one.id, state="away", size=one.size) for one in library.away()]
    return node, sorted(rows, key=lambda row: row.id)


def _at_rest(held: HeldSnapshot, report: Report) -> SnapshotState:
    progress = 1.0
    if held.state is State.INCOMPLETE:
        try:
            progress = _on_disk(held, held.metainfo())
        except P2pqwenError as error:
            report(Notice("warning", f"{held.torrent_path}: {error.message}"))
            progress = 0.0
    return SnapshotState(id=held.id, state=held.state.value, progress=progress)


def _on_disk(held: HeldSnapshot, metainfo: Metainfo) -> float:
    """Estimate how much of an unfinished fetch is here from the blocks its sparse files have."""
    total = metainfo.layout.total_size
    paths = [(held.folder / file.path.text, file.size) for file in metainfo.files]
    here = sum(min(size, path.stat().st_blocks * 512) for path, size in paths if path.is_file())
    return min(here / total, 0.9999) if total else 0.0


def _read_state(path: Path) -> NodeState | None:
    try:
        document = json.loads(durable.read(path, max_bytes=MAX_STATE_BYTES))
        rows = tuple(_row(row) for row in document["snapshots"])
        return NodeState(int(document["pid"]), str(document["listen"]), rows)
    except (P2pqwenError, ValueError, KeyError, TypeError):
        return None  # a node that is just starting or stopping


def _row(row: dict[str, Any]) -> SnapshotState:
    snapshot = SnapshotId(RepoId(row.pop("repo")), CommitId.parse(row.pop("commit")))
    row.pop("ratio", None)
    return SnapshotState(id=snapshot, **row)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with durable.disk_errors(f"look at {path}"), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
