"""A machine that reaches nobody: a network namespace in which only loopback is up."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

Within = list[str]
"""What stands before a program's arguments to run it there."""


@contextlib.contextmanager
def alone() -> Iterator[Within]:
    """Make one, and take it away; skips where the system does not let us."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip")
    name = f"pq{secrets.token_hex(3)}a"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def run_within(
    within: Within, arguments: Sequence[str | Path], *, cwd: Path, seconds: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing of this user's Hub settings."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_", "GIT_"))}
    return subprocess.run(
        [*within, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
