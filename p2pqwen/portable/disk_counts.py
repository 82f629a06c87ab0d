"""File system errors counted by the kernel where every user can read them, unlike SMART, which needs root.

ext4 keeps its count in the superblock until e2fsck, btrfs in the device until `btrfs device stats --reset`. Other file
systems count none, nor do systems without /sys: then only the errors that the node itself meets are known.
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
    """Return how many errors the kernel counted for the file system of a folder; 0 if it counts none."""
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
    """Return the name of the device mounted as `number`, which for btrfs is not a device's own number."""
    lines = (line.split() for line in mounts.read_text().splitlines())
    return next(Path(fields[fields.index("-") + 2]).name for fields in lines if fields[2] == number)


def _of_btrfs(device: Path) -> int:
    stats = device.parent.parent.glob("devinfo/*/error_stats")
    return sum(int(count) for one in stats for count in _COUNTS.findall(one.read_text()))
