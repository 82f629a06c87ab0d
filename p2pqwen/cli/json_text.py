"""The text that `--json` prints: results, events of a running node, and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Happened
from p2pqwen.hidden import covered
from p2pqwen.values.json_value import FLAT, Answer, object_json


@dataclass(frozen=True, slots=True)
class _Details:
    what: str
    expected: str | None
    got: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class _Failed:
    """What a failed command prints."""

    ok: bool = field(default=False, init=False)
    error: _Details
    exit_code: int


@dataclass(frozen=True, slots=True)
class _EventLine:
    """What `seed` prints for an event."""

    event: str
    facts: Mapping[str, str | int | float | bool | None] = field(metadata=FLAT)


def answer_json(answer: Answer) -> str:
    """Return an object as ASCII: texts of an index or a torrent reach a terminal only as escapes."""
    return covered(json.dumps(object_json(answer))).replace("\x7f", "\\u007f")


def event_json(event: Happened) -> str:
    """Return an event as an object on one line."""
    return answer_json(_EventLine(event.event, event.facts))


def failure_json(error: P2pqwenError, code: int) -> str:
    """Return the error of a failed command, with its exit code."""
    return answer_json(_Failed(_Details(error.what, error.expected, error.got, error.hint), code))
