"""Our command line in separate processes that start warm: forked from one that has imported everything already.

A start takes hundredths of a second instead of a second. Every process is real, with its own memory, signals, exit code
and pipes. What only a cold start shows (the interpreter, the entry point, imports) is left to tests that run scripts
and examples.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import IO
from unittest import mock

from tests.support.faults.shim import build

ROOT = Path(__file__).parents[2]
# Starting a process also polls all others, and two threads that poll the same process get wrong exit codes.
LOCK = threading.Lock()


@cache
def context() -> ForkServerContext:
    """Start the process that all commands are forked from; it has no threads, and the faults library is loaded."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.support.everything"])
    environment = {"PYTHONPATH": str(ROOT)}
    if (library := build()) is not None:
        environment["LD_PRELOAD"] = str(library)
    with mock.patch.dict(os.environ, environment):
        ensure_running()
    return made


@contextlib.contextmanager
def _pipe(made: ForkServerContext) -> Iterator[tuple[IO[str], Connection]]:
    reader, writer = made.Pipe(duplex=False)
    with reader, writer:
        yield os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace"), writer


class WarmPopen:
    """Like `subprocess.Popen`, for a p2pqwen command; its stdin is empty."""

    stdin = None

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        made = context()
        with _pipe(made) as (self.stdout, out), _pipe(made) as (self.stderr, err):
            self._process: ForkServerProcess = made.Process(
                target=_run, args=(list(arguments), dict(environment), out, err), daemon=True
            )
            with LOCK:
                self._process.start()
        self.pid = self._process.pid or 0
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        if self.returncode is None:
            with LOCK:
                self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code; raises `subprocess.TimeoutExpired`."""
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"p2pqwen {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], environment: Mapping[str, str], out: Connection, err: Connection) -> None:
    from p2pqwen.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, pipe in ((1, out), (2, err)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    # Made again, since the old ones were set up for another kind of stream, a file or a terminal.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)
    code = main(arguments)
    sys.stdout.flush()
    sys.exit(code)
