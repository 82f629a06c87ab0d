"""libtorrent's error codes as our errors."""

from __future__ import annotations

import errno

import libtorrent as lt

from p2pqwen.errors import DiskError, FailingDiskError, P2pqwenError, VerificationError
from p2pqwen.portable.files import FAILING
from p2pqwen.values.printable_text import printable

_DISK_HINTS = {
    errno.ENOSPC: "free some space, or point P2PQWEN_HOME at a larger disk; partial data is kept",
    errno.EDQUOT: "your quota is used up; partial data is kept",
    errno.EACCES: "check who owns the folder and whether it is mounted read-only",
    errno.EPERM: "check who owns the folder and whether it is mounted read-only",
    errno.EROFS: "the disk is mounted read-only",
}
# libtorrent's messages for v1 and v2 hashes that contradict each other; the binding does not have the code's number.
_INCONSISTENT = ("inconsistent", "do not describe the same data")


class ContradictionError(VerificationError):
    """The v1 and v2 hashes of a torrent do not describe the same bytes, or a peer made it seem so."""


def of_file(path: str, error: lt.error_code) -> P2pqwenError:
    """Return the error for a file that cannot be read or written."""
    number = error.value() if _is_system(error) else 0
    message = printable(error.message())
    if number in FAILING:
        return FailingDiskError(f"cannot read or write {printable(path)}", got=message)
    return DiskError(f"cannot read or write {printable(path)}", got=message, hint=_DISK_HINTS.get(number))


def of_torrent(name: str, error: lt.error_code) -> P2pqwenError:
    """Return the error that stopped a torrent."""
    message = printable(error.message())
    if _is_system(error):
        return of_file(name, error)
    if any(text in message for text in _INCONSISTENT):
        return ContradictionError(f"the v1 and v2 hashes of {printable(name)} contradict each other", got=message)
    return P2pqwenError(f"libtorrent stopped {printable(name)}", got=message)


def _is_system(error: lt.error_code) -> bool:
    return error.category().name() in {"system", "generic", "posix"}
