"""How an app changes what its node may do: through the running node, or in the store if none runs."""

from __future__ import annotations

from typing import Literal

from p2pqwen.app import App
from p2pqwen.events import Report
from p2pqwen.operations.control.snapshot_calls import ChoiceAnswer, Given, RemovedAnswer
from p2pqwen.operations.node.limits import LimitsAnswer


def change(
    app: App, verb: Literal["pause", "resume", "priority", "pin", "unpin"], given: Given, report: Report
) -> ChoiceAnswer:
    """Pause, resume, prioritise, pin or unpin the snapshot that `given` names; raises `P2pqwenError`."""
    running = app.running()
    if running is not None:
        return running.call(ChoiceAnswer, "POST", f"/v1/snapshots/{verb}", given)
    with app.state_store(report) as store:
        calls = app.snapshot_calls(store)
        here = {
            "pause": calls.pause,
            "resume": calls.resume,
            "priority": calls.prioritise,
            "pin": calls.pin,
            "unpin": calls.unpin,
        }
        return here[verb](given)


def remove(app: App, target: str, report: Report) -> RemovedAnswer:
    """Delete a snapshot from the library, or end its fetch; raises `P2pqwenError`."""
    running = app.running()
    if running is not None:
        return running.call(RemovedAnswer, "POST", "/v1/snapshots/remove", {"target": target})
    with app.state_store(report) as store:
        return app.snapshot_calls(store).remove({"target": target})


def change_limits(app: App, given: Given, report: Report) -> LimitsAnswer:
    """Set the limits in `given` that are not None and return all limits; raises `UsageError`."""
    running = app.running()
    if running is not None:
        return running.call(LimitsAnswer, "PUT", "/v1/limits", given)
    with app.state_store(report) as store:
        return app.snapshot_calls(store).limits(given)
