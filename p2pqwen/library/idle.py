"""Read much without disturbing others: no share of the page cache, a bounded rate.

`portable.process` sets the thread's priority for CPU and disk.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from p2pqwen.portable import files
from p2pqwen.values.rate_limiter import RateLimiter


def forget_cached(path: Path) -> None:
    """Drop a file's clean pages from the page cache, so that the next read comes from the disk, where rot happens."""
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        files.drop_cached(file.fileno())


class ReadThrottle:
    """Limits work to `rate` bytes a second (0: no limit) by sleeping in `took`."""

    def __init__(self, rate: int) -> None:
        self._limiter = RateLimiter(max(rate, 0), now=time.monotonic(), full=False)

    def took(self, count: int) -> None:
        """Note that `count` bytes were read, and wait if that was too fast."""
        now = time.monotonic()
        if (seconds := self._limiter.wait(self._limiter.take(count, now), now)) > 0:
            time.sleep(seconds)
