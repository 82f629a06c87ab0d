"""Commands on a file system that is really full, from the start or from some later moment.

Half of the runs are on ext4 in a file, half on tmpfs. Mounting needs root, and is not possible everywhere.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import CommandLine, Ended
from tests.support.faults.judge import Judge
from tests.support.faults.scenery import Scenery
from tests.support.faults.shim import Strike
from tests.support.faults.strikes import SECONDS, Measure, Outcome, bad_end, finish
from tests.support.faults.works import WORKS, Work
from tests.support.warm import WarmCommand

SIZE = 32 << 20
_SPARE = 40_000  # so that some runs just fit


@dataclass(frozen=True, slots=True)
class FullDiskPlan:
    """One run. `room`: the free fraction of what the work needs; `late`: the fraction of its time after which the disk
    is filled, 0 for before it begins.
    """

    number: int
    disk: str
    work: str
    room: float
    late: float

    @classmethod
    def of(cls, number: int) -> FullDiskPlan:
        dice = random.Random(f"full disk {number}")
        work = list(WORKS)[number % len(WORKS)]
        late = dice.random() if dice.random() < 0.5 else 0.0
        return cls(number, dice.choice(("ext4", "tmpfs")), work, 0.0 if late else dice.random(), late)


@dataclass
class FullDisk:
    """Two small file systems and the works on them, one run at a time."""

    scene: Scenery
    disks: dict[str, Path]
    _needs: dict[tuple[str, str], tuple[int, Measure]] = field(default_factory=dict)

    def run(self, plan: FullDiskPlan) -> Outcome:
        """Fill the disk, run the work, judge; make room, run it again, judge."""
        work, disk = WORKS[plan.work], self.disks[plan.disk]
        needed, measure = self._measured(plan.work, plan.disk)
        with self._user(work, disk) as (user, judge):
            ended = self._on_a_full_disk(plan, work, user, needed, measure)
            ends = [ended.code]
            problems = [f"on the full disk: {one}" for one in (*bad_end(ended, 0, 6), *judge.problems())]
            (disk / "ballast").unlink(missing_ok=True)
            problems += finish(self.scene, work, user, judge, ends)
        return Outcome(plan, tuple(ends), tuple(problems), (ended.stderr[-1000:],) if problems else ())

    def _on_a_full_disk(
        self, plan: FullDiskPlan, work: Work, user: CommandLine, needed: int, measure: Measure
    ) -> Ended:
        ballast = self.disks[plan.disk] / "ballast"
        if not plan.late:
            fill(ballast, int(plan.room * (needed + _SPARE)))
        with WarmCommand(user, work.words(self.scene, user)) as command:
            if plan.late:
                command.join(plan.late * measure.seconds)
                fill(ballast, 0)
            return command.wait(SECONDS)

    def _measured(self, name: str, disk: str) -> tuple[int, Measure]:
        if (name, disk) not in self._needs:
            work, where = WORKS[name], self.disks[disk]
            with self._user(work, where) as (user, _):
                before = _free(where)
                strike = Strike()
                with WarmCommand(user, work.words(self.scene, user), strike, where) as command:
                    ended, seconds = command.wait(SECONDS), command.seconds
                assert ended.code == 0, ended
                self._needs[name, disk] = max(0, before - _free(where)), Measure(seconds, command.changes)
        return self._needs[name, disk]

    @contextlib.contextmanager
    def _user(self, work: Work, disk: Path) -> Iterator[tuple[CommandLine, Judge]]:
        folder = disk / "user"
        try:
            user = self.scene.user(work.template, folder)
            with (user.home / "config.toml").open("a") as file:
                file.write("[library]\nreserve = 0\n")  # the default reserve is larger than the disk
            yield user, Judge.of(self.scene, user)
        finally:
            (disk / "ballast").unlink(missing_ok=True)
            shutil.rmtree(folder)


def fill(ballast: Path, room: int) -> None:
    """Leave about `room` bytes of a file system free."""
    with ballast.open("wb") as file:
        taken = 0
        for step in (1 << 20, 64 << 10, 4 << 10):
            with contextlib.suppress(OSError):
                while _free(ballast.parent) - step >= room:
                    os.posix_fallocate(file.fileno(), taken, step)
                    taken += step


@contextlib.contextmanager
def small_disks(folder: Path) -> Iterator[dict[str, Path] | None]:
    """Mount both disks; yields None if this machine does not permit it."""
    disks = {"tmpfs": folder / "tmpfs", "ext4": folder / "ext4"}
    image = folder / "image"
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        for disk in disks.values():
            disk.mkdir()
        with image.open("wb") as file:
            file.truncate(SIZE)
        made = [
            ["mkfs.ext4", "-q", "-m", "0", image],
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", disks["tmpfs"]],
            ["mount", "-o", "loop", image, disks["ext4"]],
        ]
        for command in made:
            path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
            if shutil.which(command[0], path=path) is None or subprocess.run(command, check=False).returncode != 0:
                yield None
                return
            if command[0] == "mount":
                stack.callback(subprocess.run, ["umount", command[-1]], check=True)
        yield disks


def _free(path: Path) -> int:
    now = os.statvfs(path)
    return now.f_bavail * now.f_frsize
