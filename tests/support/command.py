"""Run our own command line as a user would, in a process, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """A user with a home, a Hugging Face cache and a Hub address."""

    def __init__(self, folder: Path, endpoint: str = "http://127.0.0.1:9", **extra: str) -> None:
        self.home = folder / "home"
        self.cache = folder / "hf-cache"
        self.environment = {
            "P2PQWEN_HOME": str(self.home),
            "HF_HOME": str(folder / "hf-home"),
            "HF_HUB_CACHE": str(self.cache),
            "HF_ENDPOINT": endpoint,
            **extra,
        }

    def run(self, *arguments: str | Path, **extra: str) -> Ended:
        """Run one command to its end."""
        done = subprocess.run(
            p2pqwen(*arguments),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=ROOT,
            env=_environment({**self.environment, **extra}),
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path, **extra: str) -> Any:
        """Run one command with `--json`, expect success, return its object."""
        ended = self.run(*arguments, "--json", **extra)
        assert ended.code == 0, (arguments, ended)
        return ended.json


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_"))}
    return {**inherited, **extra}
