"""Read much without being noticed: low priority for the thread, no share of the page cache, a bounded rate.

Linux gives each thread its own niceness and I/O class (setpriority(2), ioprio_set(2)). Elsewhere only the rate remains.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

from p2pqwen.values.rate_limiter import RateLimiter

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_PROCESS = 1
_IDLE_CLASS = 3 << 13
_LOWEST = 19
_STEP = 5  # a third of the share of a thread that was not lowered


def let_others_first() -> None:
    """Have the calling thread wait a little for others, on a busy machine; does nothing where that cannot be had."""
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEP)


def make_thread_idle() -> None:
    """Give the calling thread the lowest CPU and disk priority there is; does nothing where that cannot be had."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    number = _IOPRIO_SET.get(platform.machine())
    if platform.system() == "Linux" and number is not None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, 0, _IDLE_CLASS)


def forget_cached(path: Path) -> None:
    """Drop a file's clean pages from the page cache: what is read next comes from the disk, which is what can rot."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


class Pace:
    """Holds work to so many bytes a second (0: as fast as it goes) by sleeping in `took`."""

    def __init__(
        self, rate: int, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._limiter = RateLimiter(max(rate, 0), now=clock(), full=False)

    def took(self, count: int) -> None:
        """Note that `count` bytes were read, and wait if that was too fast."""
        now = self._clock()
        if (seconds := self._limiter.wait(self._limiter.take(count, now), now)) > 0:
            self._sleep(seconds)
