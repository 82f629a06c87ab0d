"""How commands end on SIGINT or SIGTERM: one that runs until it is stopped, and one that tidies up when interrupted."""

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
    """Wait for what `stop_on_signals` gave; from the main thread, which alone runs handlers of signals.

    The system may hand a signal to any thread of the process, and then nothing wakes this one.
    """
    while not stop.wait(_WAKE_SECONDS):
        pass


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; `LEAVE_SECONDS` after them the process ends, whatever still hangs.

    Everything that counts is on the disk by then, and a node that is killed loses nothing either.
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
    """Makes SIGINT and SIGTERM one `KeyboardInterrupt` within a block, and the block ends with that and nothing else.

    The exception may come anywhere: where it is swallowed (in a destructor, by a library), or amid something that then
    fails in another way while it is tidied up. Signals that follow interrupt no tidying, and what a block did that is
    over stands.
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
        """Raise `KeyboardInterrupt` where the one that was raised has got lost."""
        if self._came and not self._expected:
            raise KeyboardInterrupt

    def expect(self) -> None:
        """From now on a signal interrupts nothing: somebody is told how to end this, and `wait` returns."""
        self._expected = True

    def wait(self) -> None:
        """Wait for the signal that is expected."""
        while not self._came:
            time.sleep(_WAKE_SECONDS)

    def _on_signal(self, *_: object) -> None:
        if self._came or self._over:
            return
        self._came = True
        if not self._expected:
            raise KeyboardInterrupt
