"""Waiting for something to become true, with a deadline and never a bare sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENT = 3
"""What a deadline is multiplied with: it ends what hangs and judges no speed, for the machine may have other work."""
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.2


def wait_until(condition: Callable[[], Found], seconds: float, what: str) -> Found:
    """Poll until the condition gives something true, and return it; fail naming what never happened.

    `seconds` is what it takes at the most on a machine with nothing else to do.
    """
    deadline = time.monotonic() + PATIENT * seconds
    pause = _FIRST_PAUSE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENT * seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return found
