"""How this home stands, as `status` and a node in the foreground show it."""

from __future__ import annotations

from p2pqwen.app import App
from p2pqwen.events import Report
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.control.status import NodeStatusAnswer, Status, status


def home_status(app: App, store: StateStore, report: Report) -> Status:
    """Return how this home stands: what its node says, or what lies on the disk."""
    running = app.running()
    asked = None if running is None else running.call(NodeStatusAnswer, "GET", "/v1/status")
    return status(app.library, app.home, store, asked, app.standings(store), report)
