"""Run a command against the hub endpoint: its environment, its signals, its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from urllib.parse import urlsplit

from p2pqwen.errors import P2pqwenError
from p2pqwen.values.proxy import VARIABLES as PROXY_VARIABLES

_PATIENCE = {"HF_HUB_ETAG_TIMEOUT": "60", "HF_HUB_DOWNLOAD_TIMEOUT": "120"}
"""Seconds: a file that only peers have takes longer to start than one from the Hub."""


class CannotStartError(P2pqwenError):
    """A command that cannot be started; `code` is the exit code of a shell or env(1): 127 not found, else 126."""

    def __init__(self, command: str, error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError)
        self.code = 127 if missing else 126
        hint = "is it installed, and in a folder of PATH?" if missing and "/" not in command else None
        what = f"command not found: {command}" if missing else f"cannot start {command}"
        super().__init__(what, got=None if missing else error.strerror or str(error), hint=hint)


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable that was set."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """What `run` set for the command, and how the command ended."""

    url: str
    environment: tuple[Setting, ...]
    exit_code: int


def environment_for(url: str) -> dict[str, str]:
    """Return the variables that make a command use an endpoint: for huggingface_hub, llama.cpp and proxies."""
    added = {"HF_ENDPOINT": url, "MODEL_ENDPOINT": f"{url}/"}
    added |= {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    if any(os.environ.get(name) for name in PROXY_VARIABLES if "no_proxy" not in name.lower()):
        host = urlsplit(url).hostname or ""
        for name in ("no_proxy", "NO_PROXY"):
            before = os.environ.get(name, "")
            added[name] = f"{before},{host}" if before else host
    return added


def run_command(command: Sequence[str], added: Mapping[str, str], *, quiet: bool) -> int:
    """Run a command and return its exit code, as a shell would; `quiet`: its stdout goes to stderr.

    Ctrl-C reaches it by itself; SIGTERM is passed on. Raises `CannotStartError`.
    """
    try:
        process = subprocess.Popen(
            list(command), env={**os.environ, **added}, stdout=sys.stderr.fileno() if quiet else None
        )
    except OSError as error:
        raise CannotStartError(command[0], error) from error
    with process, _passing_on(process):
        code = _wait(process)
    return 128 - code if code < 0 else code


def _wait(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the command got the signal as well, and ends as it likes


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
