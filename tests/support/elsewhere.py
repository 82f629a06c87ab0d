"""Our command line without what only some systems have: `python -m tests.support.elsewhere ARGUMENTS`.

Python and third-party modules are this system's and are imported first. Then modules and names that Windows lacks are
removed, `msvcrt` is added, and p2pqwen is imported.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.command import DEADLINE, CommandLine, Ended
from tests.support.processes import ROOT
from tests.support.windows_locks import WINDOWS

MODULES = ("fcntl", "termios", "resource", "pwd", "grp")
NAMES = (
    "sched_getaffinity", "sched_setaffinity", "SEEK_DATA", "SEEK_HOLE", "pread", "pwrite", "fdatasync", "posix_fadvise",
    "posix_fallocate", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "getuid", "geteuid", "getpriority",
    "setpriority", "nice", "sysconf", "copy_file_range", "sendfile", "chown", "lchown",
)  # fmt: skip
_THEIRS = (
    "aiohttp.web", "asyncio", "cryptography.hazmat.primitives.asymmetric.ed25519", "dulwich.client", "dulwich.repo",
    "huggingface_hub.file_download", "huggingface_hub.hf_api", "libtorrent", "platformdirs", "prometheus_client",
    "rich", "shutil", "sqlite3", "tempfile", "typer.main", "uuid",
)  # fmt: skip


def elsewhere(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of our program on such a system."""
    return [sys.executable, "-m", "tests.support.elsewhere", *arguments]


class ElsewhereCommandLine(CommandLine):
    """A user of such a system; every command runs in a separate process."""

    def run(self, *arguments: str | Path, **extra: str) -> Ended:
        """Run one command to its end."""
        environment = {**os.environ, **self.environment, **extra}
        done = subprocess.run(
            elsewhere(*arguments), capture_output=True, text=True, timeout=DEADLINE, cwd=ROOT, env=environment,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)


def _hide() -> None:
    ours = [name for name in sys.modules if name.partition(".")[0] == "p2pqwen"]
    for name in ours:  # test helpers have imported it
        del sys.modules[name]
    for name in _THEIRS:
        importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None
    sys.modules["msvcrt"] = WINDOWS
    for name in NAMES:
        delattr(os, name)
    socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)  # the event loop's own
    del socket.AF_UNIX


if __name__ == "__main__":
    _hide()
    sys.exit(importlib.import_module("p2pqwen.cli.main").main())
