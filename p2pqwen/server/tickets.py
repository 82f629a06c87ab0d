"""Tickets for the dashboard: each lets one browser in, once and within a minute.

The token itself is never in a file that a browser opens, nor in a browser's arguments. A ticket is, and it is worthless
once it was used, or after a minute.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = 60.0
MOST = 16
"""Open tickets at once; a new one replaces the oldest."""


@dataclass(slots=True)
class Tickets:
    """The open tickets of one node; thread-safe."""

    clock: Callable[[], float] = time.monotonic
    _open: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self) -> str:
        """Return a new ticket."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._drop_old()
            while len(self._open) >= MOST:
                del self._open[next(iter(self._open))]
            self._open[ticket] = self.clock() + SECONDS
        return ticket

    def redeem(self, given: str) -> bool:
        """Tell whether this is an open ticket, and close it."""
        with self._lock:
            self._drop_old()
            wanted = given.encode(errors="surrogatepass")
            found = [one for one in self._open if hmac.compare_digest(one.encode(), wanted)]
            for one in found:
                del self._open[one]
            return bool(found)

    def _drop_old(self) -> None:
        now = self.clock()
        self._open = {ticket: until for ticket, until in self._open.items() if now < until}
