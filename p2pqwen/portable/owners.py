"""Who owns a file, and what others may do with it.

In Python, Windows has neither user ids nor modes: its access list makes what is below a user's folder that user's.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What file systems without modes answer: FAT by some drivers, network shares, mounts from another system.
_NO_MODES = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_MODES_BY_DESCRIPTOR = os.chmod in os.supports_fd


def user_id() -> int | None:
    """Return the id of the user this process runs as, None if the system has none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def is_ours(found: os.stat_result) -> bool:
    """Tell whether a file belongs to this user, if the system tells; else True."""
    return user_id() in {None, found.st_uid}


def others_may(found: os.stat_result) -> int:
    """Return the bits of a file's mode that give other users access, 0 for none."""
    return 0 if user_id() is None else stat.S_IMODE(found.st_mode) & _OTHERS


def give_mode(target: Path | int, mode: int) -> None:
    """Set the mode of a file or folder, by path or descriptor; raises `OSError`.

    If the mode cannot be changed, because the owner is another user who lets us use it or the file system has no modes,
    the file is used as it is: `doctor` reports that, and no private key is read from there.
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
