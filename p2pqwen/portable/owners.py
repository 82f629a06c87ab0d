"""Whose a file is, and what others may do with it.

Windows has neither user ids nor modes in Python: what is below a user's folder is that user's by its access list.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What file systems say that keep no modes: FAT by some drivers, network shares, what is mounted from another system.
_NO_MODES = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_MODES_BY_DESCRIPTOR = os.chmod in os.supports_fd


def user_id() -> int | None:
    """Return the number of the user this process runs as, None where users have none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def is_ours(found: os.stat_result) -> bool:
    """Tell whether a file belongs to this user, as far as the system tells."""
    return user_id() in {None, found.st_uid}


def others_may(found: os.stat_result) -> int:
    """Return the bits of a file's mode that let others in, 0 for none."""
    return 0 if user_id() is None else stat.S_IMODE(found.st_mode) & _OTHERS


def give_mode(target: Path | int, mode: int) -> None:
    """Give a file or folder, or an open one, this mode; raises `OSError`.

    One that keeps its own, of somebody else who lets us use it or on a file system without modes, is used as it is:
    `doctor` tells of it, and a private key is not read from there.
    """
    if isinstance(target, int) and not _MODES_BY_DESCRIPTOR:
        return
    if stat.S_IMODE(os.stat(target).st_mode) == mode:  # noqa: PTH116 - a descriptor too
        return
    try:
        os.chmod(target, mode)  # noqa: PTH101
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
