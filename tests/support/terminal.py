"""A command on a terminal, with a reader who types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from tests.support.waiting import PATIENT


class Terminal:
    """What a command has shown so far, and a keyboard."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor, self._process = descriptor, process
        self.shown = ""

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Read until the text is shown, and return everything before it; fails if it never is."""
        deadline = time.monotonic() + PATIENT * seconds
        while text not in self.shown:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown: {self.shown}")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._descriptor, f"{line}\n".encode())

    def type_secret(self, line: str) -> None:
        """Type a line without echo after the prompt; earlier input would be dropped."""
        self.wait_for(": ")
        self.type(line)

    def wait(self, seconds: float = 60) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + PATIENT * seconds
        while self._read(deadline):
            pass
        return self._process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._descriptor, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextlib.contextmanager
def on_a_terminal(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a command whose standard streams are its own terminal; it ends with the block."""
    here, there = pty.openpty()
    wide = {**environment, "COLUMNS": "300", "TERM": "dumb"}
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=there, stdout=there, stderr=there, env=wide
    )
    os.close(there)
    try:
        yield Terminal(here, process)
    finally:
        process.kill()
        process.wait()
        os.close(here)
