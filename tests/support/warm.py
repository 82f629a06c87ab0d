"""Our command line in real processes that start warm: forked from one that has imported everything already.

A thousand commands that are killed, or wait beside one another, are a thousand processes; with a second of imports
for each of them nobody would run the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from types import TracebackType
from typing import Self
from unittest import mock

from tests.support.command import DEADLINE, CommandLine, Ended, _environment
from tests.support.faults.shim import Strike, build, changes
from tests.support.processes import ROOT

_PRELOAD = ["p2pqwen.cli.main", "p2pqwen.node", "p2pqwen.operations.fetch", "p2pqwen.operations.preserve",
            "p2pqwen.operations.publish", "p2pqwen.operations.update", "p2pqwen.operations.verify_target",
            "huggingface_hub.hf_api", "dulwich.client", "libtorrent", "tests.support.warm"]  # fmt: skip


HUNG = -1000
# Starting a process looks after all others, and two threads that read how one ended would both be told wrong.
_LOCK = threading.Lock()


class WarmCommand:
    """A command under way. `changes`: how often it changed the folder it was to be struck in, once it has ended."""

    def __init__(
        self,
        user: CommandLine,
        arguments: Sequence[str | Path],
        strike: Strike | None = None,
        folder: Path | None = None,
    ) -> None:
        self._output = Path(tempfile.mkdtemp(prefix="p2pqwen-warm-"))
        environment = _environment(user.environment)
        words = [str(one) for one in arguments]
        self._process: ForkServerProcess = _context().Process(
            target=_child, args=(words, environment, self._output, strike, folder), daemon=True
        )
        with _LOCK:
            self._process.start()
        self._started = self._ended = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        connection.wait([self._process.sentinel])
        with _LOCK:
            self._process.join()
            self._process.close()
        shutil.rmtree(self._output)

    @property
    def ended(self) -> bool:
        with _LOCK:
            return not self._process.is_alive()

    @property
    def seconds(self) -> float:
        """How long it took, once it was waited for."""
        return self._ended - self._started

    @property
    def changes(self) -> int:
        """How many changes it made below the folder; 0 if it was killed."""
        path = self._output / "changes"
        return int(path.read_text()) if path.exists() else 0

    def join(self, seconds: float) -> None:
        """Let it run for so long, or to its end."""
        connection.wait([self._process.sentinel], seconds)

    def kill(self) -> None:
        """End it as a power cut would."""
        with _LOCK:
            if self._process.is_alive():
                self._process.kill()

    def wait(self, seconds: float = DEADLINE) -> Ended:
        """Wait for its end; where there is none in time, the code is `HUNG`."""
        self.join(seconds)
        self._ended = time.monotonic()
        with _LOCK:
            code = HUNG if self._process.exitcode is None else self._process.exitcode
        return Ended(code, self._read("stdout"), self._read("stderr"))

    def _read(self, name: str) -> str:
        path = self._output / name
        return path.read_text() if path.exists() else ""


def run_warm(user: CommandLine, *arguments: str | Path, seconds: float = DEADLINE) -> Ended:
    """Run one command to its end in a warm process."""
    with WarmCommand(user, arguments) as command:
        ended = command.wait(seconds)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


@cache
def _context() -> ForkServerContext:
    """Start the process that everything is forked from; it has no thread, and the library of faults is loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    environment = {"PYTHONPATH": str(ROOT)}
    if (library := build()) is not None:
        environment["LD_PRELOAD"] = str(library)
    with mock.patch.dict(os.environ, environment):
        ensure_running()
    return context


def _child(
    arguments: list[str], environment: Mapping[str, str], output: Path, strike: Strike | None, folder: Path | None
) -> None:
    from p2pqwen.cli.main import main

    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (output / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    if strike is not None and folder is not None:
        strike.arm(folder)
    try:
        code = main(arguments)
    finally:
        if strike is not None:
            count = changes()
            Strike().arm(Path("/nowhere"))
            (output / "changes").write_text(str(count))
    sys.exit(code)
