"""A rate limit shared by everybody who takes from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class TokenBucket:
    """Lets `rate` bytes a second pass, with bursts of a second's worth; 0 is no limit. Use from one event loop."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate)
        self._filled_at = clock()

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass. What is taken ahead, the next ones wait for."""
        if not self._rate:
            return
        now = self._clock()
        self._left = min(self._left + (now - self._filled_at) * self._rate, float(self._rate))
        self._filled_at = now
        self._left -= count
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)
