"""Write a large file out to its disk while it still grows, so that little is left to wait for at the end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from p2pqwen.library.durable import disk_errors
from p2pqwen.portable import files

SYNC_EVERY = 32 << 20
"""Bytes of one file between two syncs: as many as make a sync worth its cost."""
_TELL_EVERY = 0.1  # seconds


class EarlySync:
    """Writes files out on a thread of its own, which waits for the disk and takes no core from other work.

    A context manager that ends the thread. Methods are thread-safe.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "early-sync")
        self._begun: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def begin(self, path: Path) -> None:
        """Start to write out what a file contains now. A file that has been moved meanwhile is skipped."""
        with suppress(RuntimeError):  # shut down: nothing waits for it any more
            self._begun.append(self._thread.submit(_sync, path))

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Wait for every sync that was begun, and call `on_wait` now and then; raises `DiskError`.

        The system reports a lost write once, so a later sync would not see it.
        """
        for one in self._begun:
            while wait([one], _TELL_EVERY).not_done:
                on_wait()
            one.result()


def _sync(path: Path) -> None:
    with disk_errors(f"write {path} out to its disk"), suppress(FileNotFoundError):
        files.sync_growing(path)
