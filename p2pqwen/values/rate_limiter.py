"""A shared rate limit: first come, first served, and the rate may change while callers wait."""

from __future__ import annotations


class RateLimiter:
    """Lets `rate` units per second pass (0: no limit), with bursts of up to `burst` seconds' unused units.

    It has no clock: each call gets `now`, the seconds of one monotonic clock. `full`: the first burst is available from
    the start.
    """

    def __init__(self, rate: float, *, now: float, burst: float = 1.0, full: bool = True) -> None:
        self._rate, self._burst = float(rate), burst
        self._taken = 0.0
        self._allowed = self._rate * burst if full else 0.0
        self._filled_at = now

    def set_rate(self, rate: float, now: float) -> None:
        """Let `rate` units per second pass from now on, also for callers that are waiting."""
        self._fill(now)
        self._rate = float(rate)

    def take(self, count: float, now: float) -> float:
        """Request `count` units; return a ticket for `wait`."""
        self._fill(now)
        self._taken += count
        return self._taken

    def wait(self, ticket: float, now: float) -> float:
        """Return the seconds, at the current rate, until the ticket's units may pass; 0 or less once they may."""
        self._fill(now)
        return (ticket - self._allowed) / self._rate if self._rate else 0.0

    def _fill(self, now: float) -> None:
        # Without a limit there are neither debts nor savings.
        most = self._taken + self._rate * self._burst
        self._allowed = min(self._allowed + (now - self._filled_at) * self._rate, most) if self._rate else most
        self._filled_at = now
