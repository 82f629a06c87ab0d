"""What the system grants this process: open files, memory, thread priority, child processes."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from p2pqwen.portable.optional import optional_module

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_PROCESS = 1
_IDLE_CLASS = 3 << 13
_LOWEST = 19
_DETACHED = 0x00000008 | 0x00000200  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP (CreateProcess)
_STEP = 5  # gives a third of the share of a normal thread
_STATM = Path("/proc/self/statm")

_resource = optional_module("resource")


def let_others_first() -> None:
    """Lower the calling thread's priority a little; does nothing if the system cannot."""
    if not _threads_have_priorities():
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEP)


def make_thread_idle() -> None:
    """Give the calling thread the lowest CPU and disk priority; does nothing if the system cannot."""
    if not _threads_have_priorities():
        return
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    number = _IOPRIO_SET.get(platform.machine())
    ctypes = optional_module("ctypes")
    if ctypes is not None and number is not None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, 0, _IDLE_CLASS)


def is_thread_idle() -> bool:
    """Tell whether the calling thread was made idle; threads and processes that it starts inherit that."""
    if not _threads_have_priorities():
        return False
    first, this = (os.getpriority(os.PRIO_PROCESS, one) for one in (os.getpid(), threading.get_native_id()))
    return first < this >= _LOWEST


def _threads_have_priorities() -> bool:
    """Tell whether setpriority(2) takes a thread: only on Linux; elsewhere the number may be another process's."""
    return platform.system() == "Linux" and hasattr(os, "setpriority")


def python(*arguments: str) -> list[str]:
    """Return a command line for this Python that imports nothing from its working directory (`-P`).

    That may be a downloaded model's: a `json.py` or `hf_xet.py` in it would run with all the user's rights.
    """
    return [sys.executable, "-P", *arguments]


def start_apart(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a program that keeps running after the terminal, and this process, end; raises `OSError`.

    Its stdin is empty and its stdout is discarded; its stderr goes to `errors`.
    """
    session, flags = os.name != "nt", _DETACHED if os.name == "nt" else 0
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        cwd=folder,
        env=dict(environment),
        start_new_session=session,
        creationflags=flags,
    )


def open_file_limit() -> int | None:
    """Return how many files and sockets this process may have open, None if there is no known limit."""
    if _resource is None:
        return None
    soft, _ = _resource.getrlimit(_resource.RLIMIT_NOFILE)
    return None if soft == _resource.RLIM_INFINITY else int(soft)


def raise_open_file_limit(wanted: int) -> None:
    """Raise that limit to `wanted`, as far as the system allows; on macOS it starts at 256."""
    soft = open_file_limit()
    if _resource is None or soft is None or soft >= wanted:
        return
    _, hard = _resource.getrlimit(_resource.RLIMIT_NOFILE)
    allowed = wanted if hard == _resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        with contextlib.suppress(ValueError, OSError):  # macOS caps it lower than it reports
            _resource.setrlimit(_resource.RLIMIT_NOFILE, (allowed, hard))


def limit_file_size(size: int) -> None:
    """Limit the size of files that this process writes to `size` bytes; a lower limit stays.

    Writes beyond it fail with EFBIG. Does nothing if the system has no such limit.
    """
    if _resource is None:
        return
    _, hard = _resource.getrlimit(_resource.RLIMIT_FSIZE)
    allowed = size if hard == _resource.RLIM_INFINITY else min(size, hard)
    with contextlib.suppress(ValueError, OSError):
        _resource.setrlimit(_resource.RLIMIT_FSIZE, (allowed, hard))


def resident_memory() -> int | None:
    """Return the bytes of memory in use, None if /proc does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError, AttributeError):
        return None
