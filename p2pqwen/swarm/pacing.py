"""A token bucket: bursts are served at once, the rest at a steady pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Pace:
    """At most `burst` at once and `rate` a second after that."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._next = clock() - burst / rate

    async def wait(self) -> None:
        """Return when the next one may go."""
        now = self._clock()
        # The moment at which this one is due; an unused burst is worth no more than `burst`.
        due = max(self._next, now - self._burst / self._rate) + 1 / self._rate
        self._next = due
        if due > now:
            await asyncio.sleep(due - now)
