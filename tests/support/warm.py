"""Our command line in real processes that start warm: forked from one that has imported everything already.

Tests of killed and concurrent commands need 1,000 processes; a second of imports for each would be too slow.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.command import DEADLINE, CommandLine, Ended, surroundings
from tests.support.faults.shim import Strike, changes
from tests.support.forks import LOCK, ROOT, context

HUNG = -1000


class WarmCommand:
    """A running command. `changes`: how often it changed the folder in which it was to be killed, once it has ended."""

    def __init__(
        self,
        user: CommandLine | Mapping[str, str],
        arguments: Sequence[str | Path],
        strike: Strike | None = None,
        folder: Path | None = None,
    ) -> None:
        self._output = Path(tempfile.mkdtemp(prefix="p2pqwen-warm-"))
        environment = surroundings(user.environment if isinstance(user, CommandLine) else user)
        words = [str(one) for one in arguments]
        self._process: ForkServerProcess = context().Process(
            target=_child, args=(words, environment, self._output, strike, folder), daemon=True
        )
        with LOCK:
            self._process.start()
        self._started = self._ended = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        connection.wait([self._process.sentinel])
        with LOCK:
            self._process.join()
            self._process.close()
        shutil.rmtree(self._output)

    @property
    def ended(self) -> bool:
        with LOCK:
            return not self._process.is_alive()

    @property
    def seconds(self) -> float:
        """How long it took; call `wait` first."""
        return self._ended - self._started

    @property
    def changes(self) -> int:
        """The number of its changes below the folder; 0 if it was killed."""
        path = self._output / "changes"
        return int(path.read_text()) if path.exists() else 0

    def join(self, seconds: float) -> None:
        """Let it run for `seconds`, or to its end."""
        connection.wait([self._process.sentinel], seconds)

    def kill(self) -> None:
        """End it as a power cut would."""
        with LOCK:
            if self._process.is_alive():
                self._process.kill()

    def wait(self, seconds: float = DEADLINE) -> Ended:
        """Wait for its end; if it does not end in time, the code is `HUNG`."""
        self.join(seconds)
        self._ended = time.monotonic()
        with LOCK:
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
