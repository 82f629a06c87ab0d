"""Emulate `msvcrt.locking` with Linux's record locks for one open file (F_OFD_SETLK)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from types import SimpleNamespace


def _locking(descriptor: int, mode: int, count: int) -> None:
    """Lock `count` bytes from the file's position on, for this open file only."""
    start = os.lseek(descriptor, 0, os.SEEK_CUR)
    kind = fcntl.F_UNLCK if mode == WINDOWS.LK_UNLCK else fcntl.F_WRLCK
    asked = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0)
    try:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:  # Windows locks such files too
            (found,) = struct.unpack_from("h", fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
            if found != fcntl.F_UNLCK:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, asked)
    except BlockingIOError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error


WINDOWS = SimpleNamespace(LK_UNLCK=0, LK_NBLCK=2, locking=_locking)
