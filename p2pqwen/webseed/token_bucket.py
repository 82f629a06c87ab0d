"""A rate limit for coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from p2pqwen.values.rate_limiter import RateLimiter

_LOOK_AGAIN = 1.0  # seconds; the rate may have changed


class TokenBucket:
    """Lets `rate` bytes a second pass, with bursts of 1 second's worth; 0 for no limit. Use from one event loop.

    Each caller waits until the rate has allowed all bytes taken so far, its own included.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limiter = RateLimiter(rate, now=clock())

    def set_rate(self, rate: int) -> None:
        """Let `rate` bytes a second pass from now on, also for callers that already wait."""
        self._limiter.set_rate(rate, self._clock())

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass."""
        ticket = self._limiter.take(count, self._clock())
        while (seconds := self._limiter.wait(ticket, self._clock())) > 0:  # noqa: ASYNC110 - the rate may change
            await asyncio.sleep(min(seconds, _LOOK_AGAIN))
