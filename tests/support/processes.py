"""Real processes for tests: their output is kept, they are stopped by id, and none is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.forks import ROOT, WarmPopen
from tests.support.waiting import wait_until

STOP_SECONDS = 20.0
_OURS = [sys.executable, "-m", "p2pqwen"]


class Process:
    """A running program. `lines` and `errors` fill while it runs."""

    def __init__(self, arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self._process = _start(self.arguments, {**os.environ, **(environment or {})})
        self.lines: list[str] = []
        self.errors: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=_collect, args=(stream, found.append), daemon=True)
            for stream, found in ((self._process.stdout, self.lines), (self._process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    @property
    def stderr(self) -> str:
        return "".join(self.errors)

    @property
    def stdout(self) -> str:
        return "".join(self.lines)

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} did not end in {seconds:g} s\n{self.stdout}{self.stderr}") from None
        for reader in self._readers:
            reader.join()
        return code

    def line(self, seconds: float, *, containing: str = "") -> str:
        """Wait for a line on stdout; the process must not end before it."""

        def look() -> str | None:
            found = next((line for line in list(self.lines) if containing in line), None)
            if found is None and self.exit_code is not None and not self._readers[0].is_alive():
                raise AssertionError(f"{self} ended with {self.exit_code}\n{self.stdout}{self.stderr}")
            return found

        return wait_until(look, seconds, f"a line with {containing!r} from {self}; so far {self.lines}, {self.errors}")

    def json_line(self, seconds: float, *, containing: str = "") -> Any:
        """Wait for a line of JSON."""
        return json.loads(self.line(seconds, containing=containing))

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a chance to clean up, as a power cut would."""
        self._process.kill()
        self._close()

    def stop(self) -> int:
        """Terminate it, kill it after a while, and return the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            if self._process.poll() is None:
                self._process.kill()
        self._close()
        return self._process.returncode

    def _close(self) -> None:
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __str__(self) -> str:
        return " ".join(self.arguments[:6])


@contextlib.contextmanager
def running(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a program for the length of the block."""
    process = Process(arguments, environment)
    try:
        yield process
    finally:
        process.stop()


def p2pqwen(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of our program in this Python; `Process` starts it warm, `subprocess` cold."""
    return [*_OURS, *arguments]


def _start(arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str] | WarmPopen:
    if arguments[: len(_OURS)] == _OURS:
        return WarmPopen(arguments[len(_OURS) :], environment)
    pipe = subprocess.PIPE
    # Transmission 4.1 logs invalid UTF-8.
    return subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="backslashreplace", cwd=ROOT, env=environment
    )


def _collect(stream: Any, add: Callable[[str], None]) -> None:
    for line in stream:
        add(line)
