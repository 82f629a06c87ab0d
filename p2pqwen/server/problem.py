"""Our errors as JSON and back, so that a command ends the same way with and without a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2pqwen import errors
from p2pqwen.errors import P2pqwenError

_STATUS: tuple[tuple[type[P2pqwenError], int], ...] = (
    (errors.UsageError, 400),
    (errors.VerificationError, 422),
    (errors.NotFoundError, 404),
    (errors.NetworkError, 504),
    (errors.DiskError, 507),
    (errors.InUseError, 409),
)
_CLASSES: Mapping[str, type[P2pqwenError]] = {kind.__name__: kind for kind, _ in _STATUS}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is sent; its kind is the nearest public class."""

    kind: str
    what: str
    expected: str | None = None
    got: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: P2pqwenError) -> Problem:
        """Return the form of an error that is sent."""
        kind = next((kind for kind, _ in _STATUS if isinstance(error, kind)), P2pqwenError)
        return cls(kind.__name__, error.what, error.expected, error.got, error.hint)

    @property
    def error(self) -> P2pqwenError:
        """The error that was sent."""
        kind = _CLASSES.get(self.kind, P2pqwenError)
        return kind(self.what, expected=self.expected, got=self.got, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer of a failed call, and the last line of a stream that breaks."""

    error: Problem


def status_of(error: P2pqwenError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 409)
