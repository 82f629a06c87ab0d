"""A rate limit shared by everybody who takes from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_LOOK_AGAIN = 1.0  # seconds; the rate may have changed


class TokenBucket:
    """Lets `rate` bytes a second pass, with bursts of a second's worth; 0 is no limit. Use from one event loop.

    Whoever comes first passes first: each waits until as much was allowed as was taken up to and with him.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._taken = 0
        self._allowed = float(rate)
        self._filled_at = clock()

    def set_rate(self, rate: int) -> None:
        """Let `rate` bytes a second pass from now on, whoever waits included."""
        self._fill()
        self._rate = rate

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass."""
        self._fill()
        self._taken += count
        mine = self._taken
        while self._rate and (short := mine - self._allowed) > 0:
            await asyncio.sleep(min(short / self._rate, _LOOK_AGAIN))
            self._fill()

    def _fill(self) -> None:
        now = self._clock()
        # Without a limit nobody is in debt, and nobody saves up.
        most = self._taken + self._rate
        allowed = self._allowed + (now - self._filled_at) * self._rate if self._rate else most
        self._allowed, self._filled_at = float(min(allowed, most)), now
