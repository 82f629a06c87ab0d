"""The status of this home, for `status` and for a node in the foreground."""

from __future__ import annotations

from p2pqwen.app import App
from p2pqwen.events import Report
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.control.status import NodeStatusAnswer, Status, status


def home_status(app: App, store: StateStore, report: Report) -> Status:
    """Return the status of this home: what its node says, or what is on the disk."""
    running = app.running()
    asked = None if running is None else running.call(NodeStatusAnswer, "GET", "/v1/status")
    return status(app.library, app.home, store, asked, app.standings(store), report)
