"""Asking no more often than the Hub allows, by what it says in `RateLimit` headers before any limit is reached.

The Hub counts API calls, file resolutions and pages apart, each over five minutes, and tells with every answer how
many are left (IETF draft-ietf-httpapi-ratelimit-headers). While plenty are left nobody waits; the last tenth is spread
over the rest of the window, so that a long bulk job slows down where it would otherwise be refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from huggingface_hub.utils._http import parse_ratelimit_headers

SPREAD_BELOW = 0.1  # of the window's requests
LONGEST_WAIT = 300.0  # the Hub's window; an answer that names a longer one is not believed


class Pace:
    """What is left of each kind of request; one for the process, used by all threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] | None = None
    ) -> None:
        self._clock = clock
        self._sleep = sleep or (lambda seconds: time.sleep(seconds))  # noqa: PLW0108 - looked up when it is called
        self._lock = threading.Lock()
        self._gap: dict[str, float] = {}
        self._next: dict[str, float] = {}

    def before(self, path: str) -> None:
        """Wait until a request for this path may go out."""
        kind = _kind(path)
        with self._lock:
            gap = self._gap.get(kind, 0.0)
            if not gap:
                return
            now = self._clock()
            turn = max(now, self._next.get(kind, now))
            self._next[kind] = turn + gap
        if turn > now:
            self._sleep(min(turn - now, LONGEST_WAIT))

    def after(self, path: str, headers: Mapping[str, str]) -> None:
        """Take in what an answer says is left."""
        limit = parse_ratelimit_headers(headers)
        if limit is None:
            return
        kind = _kind(path)
        wait = min(float(limit.reset_in_seconds), LONGEST_WAIT)
        with self._lock:
            if limit.remaining > (limit.limit or 0) * SPREAD_BELOW:
                self._gap.pop(kind, None)
                self._next.pop(kind, None)
            elif limit.remaining == 0:
                self._gap[kind] = 0.0 if wait == 0 else wait / max(1, limit.limit or 1)
                self._next[kind] = max(self._next.get(kind, 0.0), self._clock() + wait)
            else:
                self._gap[kind] = wait / (limit.remaining + 1)


def _kind(path: str) -> str:
    if path.startswith("/api/"):
        return "api"
    return "files" if "/resolve/" in path else "pages"
