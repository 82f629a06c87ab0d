"""Having a large file go to its disk while more of it comes, so that little is left to wait for at its end."""

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
"""Bytes of one file after which that pays."""
_TELL_EVERY = 0.1  # seconds


class EarlySync:
    """Writes files out on a thread of its own: that waits for the disk, and keeps no core from anybody.

    A context manager that ends the thread. Its methods may be called from several threads.
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
        """Have what a file holds now written out. One that is gone by then was moved: it is left to others."""
        with suppress(RuntimeError):  # it is over: nobody waits for it any more
            self._begun.append(self._thread.submit(_sync, path))

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Wait for all that was begun, and call `on_wait` now and then; raises `DiskError`.

        Of a lost write the system tells once, so a later sync would not hear of it.
        """
        for one in self._begun:
            while wait([one], _TELL_EVERY).not_done:
                on_wait()
            one.result()


def _sync(path: Path) -> None:
    with disk_errors(f"write {path} out to its disk"), suppress(FileNotFoundError):
        files.sync_growing(path)
