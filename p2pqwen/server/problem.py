"""Our errors as JSON and back, so that a command ends the same with a node and without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2pqwen import errors
from p2pqwen.errors import P2pqwenError

_STATUS: tuple[tuple[type[P2pqwenError], int], ...] = (
    (errors.UsageError, 400),
    (errors.VerificationError, 422),
    (errors.NotFoundError, 404),
    (errors.NetworkError, 504),
    (errors.DiskError, 507),
)
_CLASSES: Mapping[str, type[P2pqwenError]] = {kind.__name__: kind for kind, _ in _STATUS}


def to_json(error: P2pqwenError) -> dict[str, Any]:
    """Return an error as it goes over the wire; its kind is the nearest public class."""
    kind = next((kind for kind, _ in _STATUS if isinstance(error, kind)), P2pqwenError)
    return {
        "kind": kind.__name__,
        "what": error.what,
        "expected": error.expected,
        "got": error.got,
        "hint": error.hint,
    }


def from_json(value: Mapping[str, Any]) -> P2pqwenError:
    """Return the error that was sent."""
    kind = _CLASSES.get(str(value.get("kind")), P2pqwenError)
    what = str(value.get("what", "the node refused without a reason"))
    return kind(what, expected=value.get("expected"), got=value.get("got"), hint=value.get("hint"))


def status_of(error: P2pqwenError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
