"""Run our command line as a user would, with a separate home."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from p2pqwen.cli.main import main
from tests.support.processes import ROOT, p2pqwen

DEADLINE = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout; anything else there is a failure."""
        return json.loads(self.stdout)


class CommandLine:
    """A user with a home, a Hugging Face cache and a Hub address.

    Commands run in this process, which saves each of them a second of imports. With `processes=True`, each runs in a
    separate process that starts warm. With `cold=True`, each runs in a process that starts as it does for a user, for
    tests of what is read during import.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str = "http://127.0.0.1:9",
        *,
        processes: bool = False,
        cold: bool = False,
        **extra: str,
    ) -> None:
        self.home = folder / "home"
        self.cache = folder / "hf-cache"
        self._processes, self._cold = processes, cold
        self.environment = {
            "P2PQWEN_HOME": str(self.home),
            "HF_HOME": str(folder / "hf-home"),
            "HF_HUB_CACHE": str(self.cache),
            "HF_ENDPOINT": endpoint,
            "P2PQWEN_DHT_BOOTSTRAP": "none",  # no test contacts the public DHT
            **extra,
        }

    def run(self, *arguments: str | Path, **extra: str) -> Ended:
        """Run one command to its end."""
        environment = surroundings({**self.environment, **extra})
        words = [str(one) for one in arguments]
        ended = (_cold if self._cold else _warm if self._processes else _here)(words, environment)
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def ok(self, *arguments: str | Path, **extra: str) -> Any:
        """Run one command with `--json`, expect success, return its object."""
        ended = self.run(*arguments, "--json", **extra)
        assert ended.code == 0, (arguments, ended)
        return ended.json


def _here(arguments: list[str], environment: Mapping[str, str]) -> Ended:
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch("sys.stdin", io.StringIO()),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        code = main(arguments)
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def _warm(arguments: list[str], environment: Mapping[str, str]) -> Ended:
    from tests.support.warm import WarmCommand

    with WarmCommand(environment, arguments) as command:
        return command.wait()


def _cold(arguments: list[str], environment: Mapping[str, str]) -> Ended:
    done = subprocess.run(
        p2pqwen(*arguments),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=ROOT,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def surroundings(extra: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_"))}
    return {**inherited, **extra}
