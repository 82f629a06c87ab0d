"""Wait for a condition, with a deadline instead of a bare sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENT = 3
"""The factor of every deadline: it ends what hangs but does not judge speed, since the machine may be busy."""
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.2


def wait_until(condition: Callable[[], Found], seconds: float, what: str) -> Found:
    """Poll until the condition returns something true, and return it; the failure names what never happened.

    `seconds` is the longest that it takes on an idle machine.
    """
    deadline = time.monotonic() + PATIENT * seconds
    pause = _FIRST_PAUSE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENT * seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return found
