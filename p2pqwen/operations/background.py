"""Background work of a node, in rounds on its own thread, which stops within seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from p2pqwen.events import Notice, Report, ignore
from p2pqwen.portable.process import make_thread_idle

STOP_SECONDS = 5.0
"""How long `stop` waits: a stopping node does not wait for a server that never answers."""
AGAIN_SECONDS = 60.0
"""The pause after work that broke."""


class BackgroundThread:
    """A daemon thread for `work`, which returns soon once told to stop; started once at most.

    The work pauses in `wait` and calls `is_stopping` in between. `idle`: it runs at the lowest CPU and disk priority.
    If the work raises, `report` says so and it restarts after a minute: the node needs it for months.
    """

    def __init__(self, name: str, work: Callable[[], None], *, idle: bool = True, report: Report = ignore) -> None:
        self._name, self._work, self._idle, self._report = name, work, idle, report
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._news = threading.Condition()
        self._stopping = self._woken = False

    def start(self) -> None:
        """Start, unless it was told to stop before."""
        if not self._stopping:
            self._thread.start()

    def wake(self) -> None:
        """End the current pause of the work, or the next one."""
        with self._news:
            self._woken = True
            self._news.notify_all()

    def tell(self) -> None:
        """Tell the thread to stop, without waiting."""
        with self._news:
            self._stopping = True
            self._news.notify_all()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Tell the thread to stop, and wait `seconds` at most. May be called twice, and before `start`."""
        self.tell()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, seconds))

    def is_stopping(self) -> bool:
        """Tell whether it was told to stop."""
        return self._stopping

    @property
    def busy(self) -> bool:
        """Whether the thread is alive: after `stop`, it is in a call that has not returned yet."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Pause until `wake`, `stop` or the end of `seconds`; tell whether to stop. May be called from any thread."""
        with self._news:
            self._news.wait_for(lambda: self._stopping or self._woken, seconds)
            self._woken = False
            return self._stopping

    def _run(self) -> None:
        if self._idle:
            make_thread_idle()
        while not self._stopping:
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - a bug of ours must not end it for good
                what = f"{self._name} broke and starts again in {AGAIN_SECONDS:.0f} s: {type(error).__name__}: {error}"
                self._report(Notice("warning", what))
                self.wait(AGAIN_SECONDS)
            else:
                return
