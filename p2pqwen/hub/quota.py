"""Keep within the Hub's rate limits, before and after one is reached.

The Hub counts API calls, file resolutions and pages separately, each over 5 minutes, and each answer says how many are
left (`RateLimit`, draft-ietf-httpapi-ratelimit-headers). The last tenth of a window's requests is spread over the rest
of its time, so a long bulk job slows down instead of being refused; earlier requests do not wait. After a refusal (429,
or 503 with `Retry-After`, RFC 9110 10.2.3) no request of that kind goes out before the time that it names.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from huggingface_hub.utils._http import parse_ratelimit_headers

from p2pqwen.values.rate_limit import retry_after

SPREAD_BELOW = 0.1  # of the window's requests
LONGEST_WAIT = 300.0  # the Hub's window; an answer that names a longer one is not believed
WORTH_TELLING = 5.0  # seconds; shorter waits go unnoticed
_REFUSED = frozenset({429, 503})
_Kind: TypeAlias = tuple[str, str]  # origin, and one of the three kinds counted separately


class HubQuota:
    """What is left of each kind of request; the process has one, which all threads use."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] | None = None
    ) -> None:
        self._clock = clock
        self._sleep = sleep or (lambda seconds: time.sleep(seconds))  # noqa: PLW0108 - looked up when it is called
        self._lock = threading.Lock()
        self._gap: dict[_Kind, float] = {}
        self._next: dict[_Kind, float] = {}
        self._closed: dict[_Kind, float] = {}
        self._tell: Callable[[float], None] = lambda _: None
        self._told = 0.0

    @contextlib.contextmanager
    def telling(self, listener: Callable[[float], None]) -> Iterator[None]:
        """Within the block, pass `listener` the seconds of every wait of at least `WORTH_TELLING`."""
        before, self._tell = self._tell, listener
        try:
            yield
        finally:
            self._tell = before

    def before(self, origin: str, path: str) -> None:
        """Wait until a request to this origin (scheme, host, port) for this path may go out."""
        kind = _kind(origin, path)
        with self._lock:
            now = self._clock()
            turn = max(now, self._closed.get(kind, now), self._next.get(kind, now))
            if gap := self._gap.get(kind):
                self._next[kind] = turn + gap
            wait = min(turn - now, LONGEST_WAIT)
            tell = wait >= WORTH_TELLING and turn > self._told + WORTH_TELLING
            if tell:
                self._told = turn  # one line for all threads that wait for the same moment
        if tell:
            self._tell(wait)
        if wait > 0:
            self._sleep(wait)

    def after(self, origin: str, path: str, status: int, headers: Mapping[str, str]) -> None:
        """Note what an answer says is left, or when to come back."""
        kind = _kind(origin, path)
        limit = parse_ratelimit_headers(headers)
        pause = (retry_after(headers, now=datetime.now(UTC)) or 0.0) if status in _REFUSED else 0.0
        with self._lock:
            if limit is not None:
                reset = min(float(limit.reset_in_seconds), LONGEST_WAIT)
                if limit.remaining > (limit.limit or 0) * SPREAD_BELOW:
                    self._gap.pop(kind, None)
                    self._next.pop(kind, None)
                elif limit.remaining > 0:
                    self._gap[kind] = reset / (limit.remaining + 1)
                else:
                    self._gap[kind] = reset / max(1, limit.limit or 1)  # no burst when the next window opens
                    pause = max(pause, reset)
            if pause:
                until = self._clock() + min(pause, LONGEST_WAIT)
                self._closed[kind] = max(self._closed.get(kind, 0.0), until)


def _kind(origin: str, path: str) -> _Kind:
    if path.startswith("/api/"):
        return origin, "api"
    return origin, "files" if "/resolve/" in path else "pages"
