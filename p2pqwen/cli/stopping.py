"""How commands end on SIGINT or SIGTERM: those that run until stopped, and those that clean up when interrupted."""

from __future__ import annotations

import signal
import threading
import time
from types import TracebackType
from typing import Self

from p2pqwen.cli import exit_codes
from p2pqwen.cli.exit_codes import leave_at_once

LEAVE_SECONDS = 9.0
_WAKE_SECONDS = 0.5


def wait_until_stopped(stop: threading.Event) -> None:
    """Wait for the event of `stop_on_signals`; call it on the main thread, which runs the handlers.

    The system may deliver a signal to any thread of the process, and then nothing wakes this one.
    """
    while not stop.wait(_WAKE_SECONDS):
        pass


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; `LEAVE_SECONDS` later the process ends, whatever still hangs.

    All state is on disk by that time, and even a killed node loses nothing.
    """
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            last = threading.Timer(LEAVE_SECONDS, leave_at_once, (exit_codes.DONE,))
            last.daemon = True
            last.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


class InterruptOnce:
    """Turns SIGINT and SIGTERM into one `KeyboardInterrupt` within a block, which then ends with exactly that.

    The exception may occur anywhere: it may be swallowed (in a destructor, by a library), or the clean-up after it may
    fail in another way. Later signals do not interrupt the clean-up, and a signal after the block does nothing.
    """

    def __init__(self) -> None:
        self._came = self._expected = self._over = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if not isinstance(error, KeyboardInterrupt):
            self.check()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` again if the first one was swallowed."""
        if self._came and not self._expected:
            raise KeyboardInterrupt

    def expect(self) -> None:
        """Expect a signal from now on: it interrupts nothing, and `wait` returns."""
        self._expected = True

    def wait(self) -> None:
        """Wait for the expected signal."""
        while not self._came:
            time.sleep(_WAKE_SECONDS)

    def _on_signal(self, *_: object) -> None:
        if self._came or self._over:
            return
        self._came = True
        if not self._expected:
            raise KeyboardInterrupt
