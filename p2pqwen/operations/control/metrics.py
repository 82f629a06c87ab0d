"""A node's figures for Prometheus. Names are stable; labels are repository and commit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from p2pqwen import __version__
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.operations.node.supervisor import NodeFigures
from p2pqwen.portable.process import resident_memory
from p2pqwen.server.metrics import Family
from p2pqwen.stewardship.alerts import Alert
from p2pqwen.values.utc_time import parse_time

_LABELS = ("repo", "commit")
_EACH: tuple[tuple[str, str, Callable[[SnapshotState], float]], ...] = (
    ("snapshot_size_bytes", "Payload of the snapshot.", lambda row: row.size),
    ("snapshot_progress", "How much of it is held and checked, 0 to 1.", lambda row: row.progress),
    ("snapshot_peers", "Connected peers.", lambda row: row.peers),
    ("snapshot_utp_peers", "Connected peers over uTP.", lambda row: row.utp_peers),
    ("snapshot_webrtc_peers", "Connected peers over WebRTC.", lambda row: row.webrtc_peers),
    ("snapshot_seeds", "Connected peers that have everything.", lambda row: row.seeds),
    ("snapshot_upload_rate_bytes", "Payload sent a second.", lambda row: row.upload_rate),
    ("snapshot_download_rate_bytes", "Payload received a second.", lambda row: row.download_rate),
    ("snapshot_damaged_files", "Files the last scrub found damaged.", lambda row: row.damaged_files),
)


def families(figures: NodeFigures, alerts: Iterable[Alert] = ()) -> Iterator[Family]:
    """Return every metric; `alerts` are those of the last look."""
    rows = figures.rows
    yield Family("info", "The program.", ("version",), (((__version__,), 1),))
    yield Family("start_time_seconds", "When the node started.", (), (((), figures.started),))
    if (memory := resident_memory()) is not None:
        yield Family("resident_memory_bytes", "Memory in use.", (), (((), float(memory)),))
    states = sorted({row.state for row in rows})
    counted = tuple(((state,), float(sum(row.state == state for row in rows))) for state in states)
    yield Family("snapshots", "Snapshots by state.", ("state",), counted)
    for name, text, value in _EACH:
        yield Family(name, text, _LABELS, tuple((_of(row), float(value(row))) for row in rows))
    stands = tuple(((*_of(row), row.standing), 1.0) for row in rows)
    yield Family("snapshot_standing", "1 for its standing: proven, signed, unvouched.", (*_LABELS, "standing"), stands)
    uploaded = tuple((_of(row), float(row.uploaded_ever)) for row in rows)
    yield Family("snapshot_uploaded_bytes", "Payload ever sent.", _LABELS, uploaded, counter=True)
    scrubs = tuple((_of(row), parse_time(row.last_scrub).timestamp()) for row in rows if row.last_scrub)
    yield Family("snapshot_last_scrub_time_seconds", "End of the last complete scrub.", _LABELS, scrubs)
    month = float(figures.uploaded_this_month)
    yield Family("month_uploaded_bytes", "Payload sent this month, against the quota.", (), (((), month),))
    yield Family("month_quota_bytes", "The monthly upload quota, 0 for none.", (), (((), float(figures.month_quota)),))
    yield Family("may_upload", "1 while limits allow sending.", (), (((), float(figures.allowance.may_upload)),))
    yield Family("dht_nodes", "Nodes in the DHT routing tables.", (), (((), float(figures.reach.dht_nodes or 0)),))
    outside = float(figures.reach.incoming)
    yield Family("reached_from_outside", "1 once a peer of another network has connected.", (), (((), outside),))
    here = tuple(((path,), float(room is not None)) for path, room in figures.rooms.items())
    yield Family("folder_here", "1 while the disk of a library folder is connected.", ("path",), here)
    rooms = tuple(((path,), float(room)) for path, room in figures.rooms.items() if room is not None)
    yield Family("folder_room_bytes", "Space for more, beyond the reserve.", ("path",), rooms)
    jobs = [job.state.value for job in figures.jobs]
    by_state = tuple(((state,), float(jobs.count(state))) for state in sorted(set(jobs)))
    yield Family("fetches", "Fetches by state.", ("state",), by_state)
    counted_alerts = Counter((one.kind.value, one.level) for one in alerts)
    by_kind = tuple((names, float(count)) for names, count in sorted(counted_alerts.items()))
    yield Family("alerts", "What is wrong, as `p2pqwen alerts list` shows it.", ("kind", "level"), by_kind)
    yield Family("scrape_time_seconds", "The node's clock.", (), (((), time.time()),))


def _of(row: SnapshotState) -> tuple[str, str]:
    return str(row.id.repo), str(row.id.commit)
