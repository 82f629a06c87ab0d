"""A rate limit for coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from p2pqwen.values.rate_limiter import RateLimiter

_LOOK_AGAIN = 1.0  # seconds; the rate may have changed


class TokenBucket:
    """Lets `rate` bytes a second pass, with bursts of a second's worth; 0 is no limit. Use from one event loop.

    Each waits until as much was allowed as was taken up to then, its own share included.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limiter = RateLimiter(rate, now=clock())

    def set_rate(self, rate: int) -> None:
        """Let `rate` bytes a second pass from now on, for those that wait already too."""
        self._limiter.set_rate(rate, self._clock())

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass."""
        ticket = self._limiter.take(count, self._clock())
        while (seconds := self._limiter.wait(ticket, self._clock())) > 0:  # noqa: ASYNC110 - the rate may change
            await asyncio.sleep(min(seconds, _LOOK_AGAIN))
