"""How long the machine has been asleep, by two system clocks of which one stops during sleep."""

from __future__ import annotations

import time

_WITH_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_WITHOUT: int | None = getattr(time, "CLOCK_MONOTONIC", None)


def seconds_asleep() -> float:
    """Return the seconds that the machine has slept, counted from a fixed moment.

    On Linux, since it was started (clock_gettime(2): CLOCK_BOOTTIME counts sleep, CLOCK_MONOTONIC does not). Elsewhere
    the time of day counts it, so setting the clock looks like sleep too.
    """
    if _WITH_SLEEP is not None and _WITHOUT is not None and hasattr(time, "clock_gettime"):
        return time.clock_gettime(_WITH_SLEEP) - time.clock_gettime(_WITHOUT)
    return time.time() - time.monotonic()
