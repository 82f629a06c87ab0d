"""What the kernel counts of a file system's errors, read where it shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pqwen.portable.disk_counts import counted_errors


class Kernel:
    """Some /sys and mountinfo, for the file system that `folder` is on."""

    def __init__(self, place: Path) -> None:
        self.folder, self.sys, self.mounts = place / "library", place / "sys", place / "mountinfo"
        self.folder.mkdir()
        self.mounts.write_text("")
        number = self.folder.stat().st_dev
        self.number = f"{os.major(number)}:{os.minor(number)}"

    def write(self, name: str, text: str) -> None:
        (self.sys / name).parent.mkdir(parents=True, exist_ok=True)
        (self.sys / name).write_text(text)

    @property
    def counted(self) -> int:
        return counted_errors(self.folder, sys=self.sys, mounts=self.mounts)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.mark.parametrize(("text", "count"), [("0\n", 0), ("12\n", 12), ("what?\n", 0)])
def test_ext4(kernel, text, count):
    kernel.write("devices/sda/sda1/size", "")
    (kernel.sys / "dev/block").mkdir(parents=True)
    (kernel.sys / "dev/block" / kernel.number).symlink_to(kernel.sys / "devices/sda/sda1")
    kernel.write("fs/ext4/sda1/errors_count", text)
    kernel.write("fs/ext4/sdb1/errors_count", "99\n")
    assert kernel.counted == count


def test_btrfs_counts_for_each_of_its_devices(kernel):
    kernel.mounts.write_text(
        f"20 1 0:9999 / /proc rw - proc proc rw\n31 1 {kernel.number} / /srv rw,noatime shared:1 - btrfs /dev/sdb1 rw\n"
    )
    for uuid, disk in (("1-2", "sdb1"), ("3-4", "sdc1")):
        kernel.write(f"fs/btrfs/{uuid}/devices/{disk}", "")
        kernel.write(f"fs/btrfs/{uuid}/devinfo/1/error_stats", "write_errs 1\nread_errs 2\nflush_errs 0\n")
    kernel.write("fs/btrfs/1-2/devinfo/2/error_stats", "write_errs 0\ncorruption_errs 4\n")
    assert kernel.counted == 7


def test_others_count_none(kernel, tmp_path):
    assert kernel.counted == 0
    assert counted_errors(tmp_path / "nowhere") == 0
    assert counted_errors(tmp_path) >= 0, "of the real one"
