"""A program on its own terminal: what it shows, and the keys pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.processes import ROOT


class Terminal:
    """A program on a terminal; `shown` is everything it wrote, escape sequences and all."""

    def __init__(
        self, arguments: Sequence[str | Path], environment: Mapping[str, str], *, columns: int = 100, lines: int = 30
    ) -> None:
        self._ours, theirs = pty.openpty()
        size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm"}
        self.process = subprocess.Popen(
            arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **size, **environment},
            cwd=ROOT,
            start_new_session=True,
            # A shell's job control needs a controlling terminal; nothing else runs between fork and exec.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(theirs)
        self.shown = ""

    def press(self, keys: str) -> None:
        """Type these keys; forgets what was shown before."""
        self.shown = ""
        os.write(self._ours, keys.encode())

    def read_until(self, text: str, seconds: float = 30) -> str:
        """Return what was shown, once `text` is in it."""
        until = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._ours, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    assert text in self.shown, self.shown
        return self.shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._ours)


@contextlib.contextmanager
def on_terminal(
    arguments: Sequence[str | Path], environment: Mapping[str, str], *, columns: int = 100
) -> Iterator[Terminal]:
    """Run a program on a terminal for the length of the block."""
    terminal = Terminal(arguments, environment, columns=columns)
    try:
        yield terminal
    finally:
        terminal.close()
