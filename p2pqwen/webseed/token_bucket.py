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

    def set_rate(self, rate: int) -> None:
        """Let `rate` bytes a second pass from now on; whoever waits already waits as long as at the old rate."""
        self._fill()
        self._rate, self._left = rate, min(self._left, float(rate))

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass. What is taken ahead, the next ones wait for."""
        if not self._rate:
            return
        self._fill()
        self._left -= count
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._left + (now - self._filled_at) * self._rate, float(self._rate))
        self._filled_at = now
