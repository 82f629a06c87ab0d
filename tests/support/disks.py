"""Where tests keep their files: in memory, if there is room, and on a second file system if they need two."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes of memory that must be free; a run uses a fraction of it, since the files of passed tests are deleted."""
_PREFIX = "p2pqwen-tests-"
_OTHERS = (MEMORY, Path("/var/tmp"), Path("/tmp"), Path(__file__).parents[2])


def folder_in_memory() -> Path | None:
    """Return a new folder for a run's files, None if memory is short.

    p2pqwen syncs what it writes to the disk, thousands of times in a run, and each time takes milliseconds. In memory,
    the same calls are fast.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:  # tests start programs from their folders
        return None
    if min(shutil.disk_usage(MEMORY).free, _free_memory()) < ROOM:
        return None
    _remove_left_over()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=MEMORY))
    folder.chmod(0o755)  # some tests run as other users
    return folder


@contextmanager
def other_disk(than: Path) -> Iterator[Path]:
    """A folder on another file system; skips the test if this machine has only one."""
    device = than.stat().st_dev
    others = [one for one in _OTHERS if one.is_dir() and os.access(one, os.W_OK) and one.stat().st_dev != device]
    if not others:
        pytest.skip("no other disk")
    folder = Path(tempfile.mkdtemp(dir=others[0], prefix="p2pqwen-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_memory() -> int:
    with suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE):
            return int(found[1]) << 10
    return 0


def _remove_left_over() -> None:
    """Remove what ended runs left, if they failed or were killed."""
    for one in MEMORY.glob(f"{_PREFIX}*"):
        number = one.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdecimal() and one.stat().st_uid == os.getuid() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(one, ignore_errors=True)
