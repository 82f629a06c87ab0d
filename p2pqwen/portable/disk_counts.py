"""Errors of a file system that the kernel counts where everybody may read them; no root, unlike SMART.

ext4 keeps its count in the superblock until e2fsck, btrfs in the device until `btrfs device stats --reset`. Others
count none, nor do systems without /sys: then what the node meets itself is all there is.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

SYS = Path("/sys")
MOUNTS = Path("/proc/self/mountinfo")
_COUNTS = re.compile(r"^\w+_errs (\d+)$", re.MULTILINE)


def counted_errors(folder: Path, *, sys: Path = SYS, mounts: Path = MOUNTS) -> int:
    """Return how many errors the kernel counted of the file system of a folder; 0 where it counts none."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        number = folder.stat().st_dev
        shown = f"{os.major(number)}:{os.minor(number)}"
        device = sys / "dev" / "block" / shown
        name = device.resolve(strict=True).name if device.exists() else _source(mounts, shown)
        ext4 = sys / "fs" / "ext4" / name / "errors_count"
        if ext4.exists():
            return int(ext4.read_text())
        return sum(map(_of_btrfs, (sys / "fs" / "btrfs").glob(f"*/devices/{name}")))
    return 0


def _source(mounts: Path, number: str) -> str:
    """Return the name of the device that is mounted as `number`, which is none of a device's (btrfs)."""
    lines = (line.split() for line in mounts.read_text().splitlines())
    return next(Path(fields[fields.index("-") + 2]).name for fields in lines if fields[2] == number)


def _of_btrfs(device: Path) -> int:
    stats = device.parent.parent.glob("devinfo/*/error_stats")
    return sum(int(count) for one in stats for count in _COUNTS.findall(one.read_text()))
