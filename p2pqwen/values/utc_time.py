"""Times in our documents: RFC 3339, UTC with `Z`, whole seconds, one spelling."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from p2pqwen.errors import FormatError

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)

EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)
"""Older than this software: a clock that shows an earlier time, such as 1970, is not set."""


def parse_time(text: str) -> datetime:
    """Parse exactly the form `2026-11-23T21:00:00Z`; raises `FormatError`."""
    try:
        moment = datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:  # the 30th of February
        moment = None
    if moment is None:
        raise FormatError("not a time", expected="one such as 2026-11-23T21:00:00Z", got=repr(text[:40]))
    return moment


def format_time(moment: datetime) -> str:
    """Return a time with a zone, truncated to the second."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
