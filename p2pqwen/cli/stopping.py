"""How a command that runs until it is stopped ends: on SIGINT or SIGTERM, and within seconds."""

from __future__ import annotations

import signal
import threading

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
    """Return what SIGINT and SIGTERM set; after `LEAVE_SECONDS` the process ends, whatever still hangs.

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
