"""Our command line without what only some systems have: `python -m tests.support.elsewhere ARGUMENTS`.

Python and third-party modules are this system's and are imported first. Then modules and names that Windows lacks are
removed, `msvcrt` is added, and p2pqwen is imported.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import sys
from pathlib import Path
from typing import Self

from tests.support.command import DEADLINE, CommandLine, Ended
from tests.support.processes import ROOT
from tests.support.windows_locks import WINDOWS
from tests.support.zygote import Zygote

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
_PREPARE = "from tests.support.elsewhere import _hide; _hide()"
_MAIN = "import sys; from p2pqwen.cli.main import main; sys.exit(main())"


def elsewhere(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of our program on such a system."""
    return [sys.executable, "-m", "tests.support.elsewhere", *arguments]


class ElsewhereCommandLine(CommandLine):
    """A user of such a system; every command runs in a separate process, forked from one where `_hide` has run."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        super().__init__(folder, endpoint)
        # Of this user alone: huggingface_hub reads its settings while it is imported.
        self._zygote = Zygote(_PREPARE, environment=self.environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zygote.__exit__(None, None, None)

    def run(self, *arguments: str | Path, **extra: str) -> Ended:
        """Run one command to its end."""
        assert not any(name.startswith("HF_") for name in extra), "that was read when the first command started"
        environment = {**os.environ, **self.environment, **extra}
        given = [str(one) for one in arguments]
        done = self._zygote.run(_MAIN, given, environment=environment, cwd=ROOT, seconds=DEADLINE)
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
    exec(_MAIN)
