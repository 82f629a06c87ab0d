"""What passed through from the Hub is preserved: one snapshot after the other, each once, beside everything else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from p2pqwen.containment import each, warn
from p2pqwen.events import Report
from p2pqwen.values.snapshot_id import SnapshotId

_STOP_SECONDS = 2.0


class Keeper:
    """Preserves snapshots on a thread of its own; a context manager. What fails is told, and not tried again."""

    def __init__(self, preserve: Callable[[SnapshotId], object], report: Report) -> None:
        self._preserve, self._report = preserve, report
        self._wanted: queue.SimpleQueue[SnapshotId | None] = queue.SimpleQueue()
        self._seen: set[SnapshotId] = set()
        self._thread = threading.Thread(target=self._work, name="hub keep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def keep(self, snapshot: SnapshotId) -> None:
        """Preserve a snapshot soon, unless it was asked for before; from any thread."""
        if snapshot not in self._seen:
            self._seen.add(snapshot)
            self._wanted.put(snapshot)

    def stop(self) -> None:
        """Take no more; what is being preserved is gone on with by the next try."""
        self._wanted.put(None)
        self._thread.join(_STOP_SECONDS)

    def _work(self) -> None:
        while (snapshot := self._wanted.get()) is not None:
            each([snapshot], self._preserve, failed=warn(self._report, "keeping {}".format))
