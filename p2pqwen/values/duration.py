"""Lengths of time as people write them: `24h`, `7d`, `90 m`."""

from __future__ import annotations

import re
from datetime import timedelta

from p2pqwen.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*([0-9]{1,9})\s*([smhdw])\s*", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Parse a whole number with a unit (s, m, h, d, w); raises `UsageError`."""
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match is not None else 0
    if not 0 < seconds <= 3650 * 86_400:
        raise UsageError(
            "not a length of time", expected="a number with a unit, such as 24h or 7d", got=repr(text[:40])
        )
    return timedelta(seconds=seconds)
