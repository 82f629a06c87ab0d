"""A node in the background without systemd or the like: a separate process that outlives its terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.operations.control.routes import NodeAnswer
from p2pqwen.portable.process import python, start_apart
from p2pqwen.server.control_client import ControlClient

ERRORS = "daemon.err"
"""The file in the home's log folder that holds a daemon's stderr; each start overwrites it."""
_START_SECONDS = 60.0
_LOOK_EVERY = 0.1
_MAX_SAID = 2000


@dataclass(frozen=True, slots=True)
class DaemonAnswer:
    """The running node; `started`: this call started it."""

    pid: int
    started: bool


def start_daemon(options: Sequence[str], home: Home, running: Callable[[], ControlClient | None]) -> DaemonAnswer:
    """Start `seed` with these options in a new session, and wait until it answers.

    If a node of this home is already running, nothing is started. Raises `P2pqwenError` with the node's output if it
    ends at once or does not answer in time.
    """
    if (client := running()) is not None:
        return DaemonAnswer(_pid(client), started=False)
    said = home.log / ERRORS
    durable.write(said, b"")
    with said.open("ab") as errors:
        node = start_apart(
            python("-m", "p2pqwen", "seed", *options, "--quiet"),
            folder=home.root,
            environment={**os.environ, "P2PQWEN_HOME": str(home.root)},
            errors=errors,
        )
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if node.poll() is not None:
            what = f"the node ended at once, with exit code {node.returncode}"
            raise P2pqwenError(what, got=_last_words(said), hint="`p2pqwen seed` shows all it says")
        if (client := running()) is not None:
            return DaemonAnswer(_pid(client), started=True)
        time.sleep(_LOOK_EVERY)
    what = f"process {node.pid} was started but does not answer within {_START_SECONDS:.0f} s"
    raise P2pqwenError(what, got=_last_words(said) or None, hint="`p2pqwen status` shows whether it came up")


def _pid(client: ControlClient) -> int:
    return client.call(NodeAnswer, "GET", "/v1/node").pid


def _last_words(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-_MAX_SAID:].strip()
    except OSError:
        return ""
