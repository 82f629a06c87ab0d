"""The exit code of each error, and ending the program."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from p2pqwen import errors

DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130

_BY_CLASS: tuple[tuple[type[errors.P2pqwenError], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.VerificationError, 3),
    (errors.NotFoundError, 4),
    (errors.NetworkError, 5),
    (errors.DiskError, 6),
)

HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 verification failed, 4 not found, 5 network, 6 disk, "
    "130 interrupted."
)


def exit_code(error: errors.P2pqwenError) -> int:
    """Return the exit code of an error's class."""
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), FAILED)


def leave_at_once(code: int) -> NoReturn:
    """Exit without waiting for download threads that are blocked in a read; what they staged is resumable."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
