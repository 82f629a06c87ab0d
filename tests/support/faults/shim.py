"""Strike at the n-th change of a folder, with `shim.c` preloaded into a process: SIGKILL, or a failing call."""

from __future__ import annotations

import ctypes
import enum
import errno
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path


class Mode(enum.IntEnum):
    """What happens at the n-th change."""

    COUNT = 0
    KILL = 1
    FAIL_ONCE = 2
    FAIL_ON = 3  # and at every later change, as on a broken disk
    SHORT = 4  # a write writes half


@dataclass(frozen=True, slots=True)
class Strike:
    """One strike. `error` is the name of an errno."""

    mode: Mode = Mode.COUNT
    at: int = 0
    error: str = "EIO"

    def arm(self, folder: Path) -> None:
        """Arm the strike in this process, which must have been started with the library of `build` preloaded."""
        number = getattr(errno, self.error)
        ctypes.CDLL(None).fault_arm(str(folder).encode(), int(self.mode), ctypes.c_long(self.at), number)


def changes() -> int:
    """Return the number of changes that this process has made since it was armed."""
    count = ctypes.CDLL(None).fault_count
    count.restype = ctypes.c_long
    return int(count())


@cache
def build() -> Path | None:
    """Compile the library once in this process; None without a C compiler."""
    if (compiler := shutil.which("gcc") or shutil.which("cc")) is None:
        return None
    target = Path(tempfile.mkdtemp(prefix="p2pqwen-faults-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl"], check=True)
    return target
