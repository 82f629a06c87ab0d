"""Locks on an open file, which the system frees when the process ends.

flock(2) locks a whole file, exclusively or shared. Windows locks ranges of bytes, each exclusively, and no other
process can then read them (`msvcrt.locking`, LockFile). There a shared lock is any one of `_SLOTS` bytes far past the
end of the file, and an exclusive lock is all of them.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Protocol

from p2pqwen.portable.optional import optional_module

_FIRST = 1 << 30  # the first locked byte, so far out that the content of a lock file stays readable
_SLOTS = 64
_TRY_AGAIN = 0.05  # seconds between two tries while waiting

_fcntl = optional_module("fcntl")
_msvcrt = optional_module("msvcrt")


class FileLock(Protocol):
    """A lock on one open file, not held at first."""

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """Hold it exclusively, or with others if `shared`; return whether it is held. Raises `OSError`.

        A lock that is held already is freed before it is taken in the other mode; if that fails, it is not held.
        """

    def free(self) -> None:
        """Free it; call this before the file is closed."""


class WholeFileLock:
    """A lock by flock(2). `fcntl` is the module."""

    def __init__(self, descriptor: int, fcntl: ModuleType) -> None:
        self._descriptor, self._fcntl = descriptor, fcntl

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """See `FileLock`."""
        kind = self._fcntl.LOCK_SH if shared else self._fcntl.LOCK_EX
        try:
            self._fcntl.flock(self._descriptor, kind | (0 if wait else self._fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def free(self) -> None:
        """See `FileLock`. Closing the file frees it too."""


class ByteRangeLock:
    """A lock by `msvcrt.locking`. `msvcrt` is the module."""

    def __init__(self, descriptor: int, msvcrt: ModuleType) -> None:
        self._descriptor, self._msvcrt = descriptor, msvcrt
        self._held: tuple[int, int] | None = None

    def take(self, *, shared: bool = False, wait: bool = False) -> bool:
        """See `FileLock`."""
        self.free()
        spans = [(_FIRST + slot, 1) for slot in range(_SLOTS)] if shared else [(_FIRST, _SLOTS)]
        while True:
            for span in spans:
                if self._ask(self._msvcrt.LK_NBLCK, span):
                    self._held = span
                    return True
            if not wait:
                return False
            time.sleep(_TRY_AGAIN)

    def free(self) -> None:
        """See `FileLock`."""
        if self._held is not None:
            self._ask(self._msvcrt.LK_UNLCK, self._held)
            self._held = None

    def _ask(self, mode: int, span: tuple[int, int]) -> bool:
        start, count = span
        os.lseek(self._descriptor, start, os.SEEK_SET)
        try:
            self._msvcrt.locking(self._descriptor, mode, count)
        except PermissionError:  # another process holds a byte of it
            return False
        finally:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        return True


def file_lock(descriptor: int) -> FileLock:
    """Return the lock of an open file. Raises `OSError` if this Python has no locks, rather than guard nothing."""
    if _fcntl is not None:
        return WholeFileLock(descriptor, _fcntl)
    if _msvcrt is not None:
        return ByteRangeLock(descriptor, _msvcrt)
    raise OSError("this Python can lock no files: it has neither fcntl nor msvcrt")
