"""A node of the demo: our command line in a process, with its own home and Hugging Face cache."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from p2pqwen.errors import P2pqwenError
from p2pqwen.portable.process import python

STEP_SECONDS = 120.0
STOP_SECONDS = 15.0
_SHOWN_LINES = 20


class DemoStepError(P2pqwenError):
    """A step of the demo failed and ends it; `stderr` has the last lines of its process."""

    def __init__(self, what: str, *, expected: object = None, got: object = None, stderr: str = "") -> None:
        self.stderr = stderr.strip().splitlines()[-_SHOWN_LINES:]
        super().__init__(what, expected=expected, got=got)


class NodeProcess:
    """Runs commands in one home, without access to the user's homes, caches, tokens and settings."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "P2PQWEN_"))}
        self.environment = kept | {
            "P2PQWEN_HOME": str(home / "p2pqwen"),
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_CACHE": str(home / "huggingface" / "hub"),
            "HF_ENDPOINT": endpoint,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line of our program, with `--json`."""
        return python("-m", "p2pqwen", *arguments, "--json")

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command and return its JSON object; raises `DemoStepError` unless it exits 0."""
        name = _name(arguments)
        output = self._output(name, self.command(arguments), self.environment)
        try:
            value = json.loads(output)
        except ValueError as error:
            raise DemoStepError(f"demo: {name}", expected="one JSON object", got=repr(output[:200])) from error
        if not isinstance(value, dict):
            raise DemoStepError(f"demo: {name}", expected="a JSON object", got=type(value).__name__)
        return value

    def python(self, code: str, *arguments: str, **environment: str) -> str:
        """Run a line of Python in the node's environment and return its output."""
        return self._output("python", python("-c", code, *arguments), self.environment | environment)

    def _output(self, name: str, command: list[str], environment: dict[str, str]) -> str:
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=STEP_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoStepError(f"demo: {name} did not end", expected=f"an end within {STEP_SECONDS:g} s") from error
        if done.returncode != 0:
            raise DemoStepError(f"demo: {name} failed", expected="exit 0", got=done.returncode, stderr=done.stderr)
        return done.stdout


class SeedProcess:
    """Runs `seed` in the background for the length of a block; `wait_for` waits for its events."""

    def __init__(self, node: NodeProcess, arguments: Sequence[str]) -> None:
        self._command = node.command(["seed", *arguments])
        self._environment = node.environment
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def __enter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the next event of this name; raises `DemoStepError` if the node ends or stays silent."""
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            try:
                found = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._failed(f"event {event!r} within {STEP_SECONDS:g} s", "none") from None
            if found is None:
                raise self._failed(f"event {event!r}", "the node ended")
            if found.get("event") == event:
                return found

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put(json.loads(line))
        self._events.put(None)

    def _failed(self, expected: str, got: str) -> DemoStepError:
        self._stderr.seek(0)
        return DemoStepError("demo: seed failed", expected=expected, got=got, stderr=self._stderr.read())


def _name(arguments: Sequence[str]) -> str:
    words = [argument for argument in arguments[:2] if argument.isalpha()]
    return "`p2pqwen " + " ".join(words) + "`"
