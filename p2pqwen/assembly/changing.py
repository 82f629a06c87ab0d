"""How an app changes what its node may do: through the running node, or in the store where none runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2pqwen.app import App
from p2pqwen.events import Report


def change(app: App, verb: str, given: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Pause, resume, prioritise, pin, unpin or remove the snapshot that `given` names; raises `P2pqwenError`."""
    running = app.running()
    if running is not None:
        return running.call("POST", f"/v1/snapshots/{verb}", given)
    with app.state_store(report) as store:
        calls = app.snapshot_calls(store)
        here = {
            "pause": calls.pause,
            "resume": calls.resume,
            "priority": calls.prioritise,
            "pin": calls.pin,
            "unpin": calls.unpin,
            "remove": calls.remove,
        }
        return here[verb](given)


def change_limits(app: App, given: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return the limits, after those in `given` that are not None were set; raises `UsageError`."""
    running = app.running()
    if running is not None:
        return running.call("PUT", "/v1/limits", given)
    with app.state_store(report) as store:
        return app.snapshot_calls(store).limits(given)
