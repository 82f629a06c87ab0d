"""Preserve the snapshots that pass through from the Hub: one after another, each once, in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from p2pqwen.containment import each, warn
from p2pqwen.events import Report
from p2pqwen.values.snapshot_id import SnapshotId

_STOP_SECONDS = 2.0


class Keeper:
    """Preserves snapshots on its own thread. Failures are reported and not retried."""

    def __init__(self, preserve: Callable[[SnapshotId], object], report: Report) -> None:
        self._preserve, self._report = preserve, report
        self._wanted: queue.SimpleQueue[SnapshotId | None] = queue.SimpleQueue()
        self._seen: set[SnapshotId] = set()
        self._thread = threading.Thread(target=self._work, name="hub keep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def keep(self, snapshot: SnapshotId) -> None:
        """Preserve a snapshot soon, unless it was requested before; may be called from any thread."""
        if snapshot not in self._seen:
            self._seen.add(snapshot)
            self._wanted.put(snapshot)

    def stop(self) -> None:
        """Stop; an unfinished preservation continues with the next try."""
        self._wanted.put(None)
        self._thread.join(_STOP_SECONDS)

    def _work(self) -> None:
        while (snapshot := self._wanted.get()) is not None:
            each([snapshot], self._preserve, failed=warn(self._report, "keeping {}".format))
