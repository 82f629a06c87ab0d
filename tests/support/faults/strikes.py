"""Strike commands in the middle: kill them, or fail their disk; judge, run them again, judge again.

A run's number determines the command, the strike and its moment. Moments are fractions of an undisturbed run (of its
time, or of its changes to the disk), so a number means the same on every machine.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.command import CommandLine, Ended
from tests.support.faults.judge import Judge
from tests.support.faults.scenery import Scenery
from tests.support.faults.shim import Mode, Strike
from tests.support.faults.works import WORKS, Work
from tests.support.warm import WarmCommand

SECONDS = 60.0
_ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS")
_DONE, _DISK = 0, 6


@dataclass(frozen=True, slots=True)
class StrikePlan:
    """One run. `moment` is a fraction of the run's time if `by_clock`, else of its changes to the disk.

    `twice`: the next run is killed at the same moment too, before a third may finish.
    """

    number: int
    work: str
    mode: Mode
    moment: float
    by_clock: bool = False
    error: str = "EIO"
    twice: bool = False

    @classmethod
    def kill(cls, number: int) -> StrikePlan:
        """Plan a SIGKILL at a random time, or in the middle of a random change."""
        dice = random.Random(f"kill {number}")
        work = list(WORKS)[number % len(WORKS)]
        by_clock = dice.random() < (0.6 if WORKS[work].fetches else 0.3)
        return cls(number, work, Mode.KILL, dice.random(), by_clock, twice=dice.random() < 0.25)

    @classmethod
    def disk(cls, number: int) -> StrikePlan:
        """Plan a failing change to the disk, alone or with all after it, or a write that writes half."""
        dice = random.Random(f"disk {number}")
        work = list(WORKS)[number % len(WORKS)]
        mode = dice.choice((Mode.FAIL_ONCE, Mode.FAIL_ONCE, Mode.FAIL_ON, Mode.FAIL_ON, Mode.SHORT))
        # Python retries interrupted calls: one EINTR is a signal, but no disk returns it forever.
        errors = (*_ERRORS, "EINTR") if mode is Mode.FAIL_ONCE else _ERRORS
        return cls(number, work, mode, dice.random(), error=dice.choice(errors))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run. `problems` is empty if all is right; `ends` are the exit codes."""

    plan: Any
    ends: tuple[int, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """What an undisturbed work takes."""

    seconds: float
    changes: int


@dataclass
class Striker:
    """Runs plans in one scenery; `run` may be called from several threads."""

    scene: Scenery
    _measures: dict[str, Measure] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, plan: StrikePlan) -> Outcome:
        """Carry out a plan; the folder stays if something is wrong."""
        work, folder = WORKS[plan.work], self._folder(f"{plan.mode.name.lower()}-{plan.number}")
        measure = self.measure(plan.work)
        user = self.scene.user(work.template, folder)
        judge = Judge.of(self.scene, user)
        ends, problems, notes = [], [], []
        for words in [work.words] + [work.repeated] * plan.twice:
            ended = self._struck(plan, measure, user, words(self.scene, user), folder)
            ends.append(ended.code)
            notes.append(ended.stderr[-500:])
            problems += [f"after the strike: {one}" for one in (*bad_end(ended, *_ENDS[plan.mode]), *judge.problems())]
        problems += finish(self.scene, work, user, judge, ends)
        if not problems:
            shutil.rmtree(folder)
        return Outcome(plan, tuple(ends), tuple(problems), tuple(notes) if problems else ())

    def measure(self, name: str) -> Measure:
        """Run a work undisturbed, once."""
        with self._lock:
            if name not in self._measures:
                work, folder = WORKS[name], self._folder(f"measure-{name.replace(' ', '-')}")
                user = self.scene.user(work.template, folder)
                judge = Judge.of(self.scene, user)
                with WarmCommand(user, (*work.words(self.scene, user), "--json"), Strike(), folder) as command:
                    ended = command.wait(SECONDS)
                    seconds, changes = command.seconds, command.changes
                assert ended.code == _DONE, (name, ended)
                assert changes > 0, f"the faults cannot hit {name}"
                assert not [*judge.problems(), *work.done(self.scene, judge)]
                self._measures[name] = Measure(seconds, changes)
                shutil.rmtree(folder)
            return self._measures[name]

    def _struck(
        self, plan: StrikePlan, measure: Measure, user: CommandLine, words: Sequence[str | Path], folder: Path
    ) -> Ended:
        if plan.by_clock:
            with WarmCommand(user, words) as command:
                command.join(plan.moment * measure.seconds)
                command.kill()
                return command.wait(SECONDS)
        strike = Strike(plan.mode, 1 + int(plan.moment * measure.changes), plan.error)
        with WarmCommand(user, words, strike, folder) as command:
            return command.wait(SECONDS)

    def _folder(self, name: str) -> Path:
        folder = self.scene.folder / "runs" / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder


def finish(scene: Scenery, work: Work, user: CommandLine, judge: Judge, ends: list[int]) -> Iterator[str]:
    """Run the work again undisturbed, and yield what is wrong then; nothing on disk may be fetched again."""
    missing = judge.missing(scene.new) if work.fetches else 0
    with WarmCommand(user, (*work.repeated(scene, user), "--json")) as command:
        ended = command.wait(SECONDS)
    ends.append(ended.code)
    if ended.code != _DONE:
        yield f"the next try failed: {ended.stderr[-1000:]}"
        return
    if work.fetches and ended.json["bytes_from_peers"] > missing:
        yield f"of {missing} missing bytes {ended.json['bytes_from_peers']} were fetched"
    yield from judge.problems()
    yield from work.done(scene, judge)


def bad_end(ended: Ended, *codes: int) -> Iterator[str]:
    """Yield the error if a command ended with another code than these, or with a traceback."""
    if ended.code not in codes or "Traceback" in ended.stderr:
        yield f"exit code {ended.code}: {ended.stderr[-3000:]}"


_ENDS = {
    Mode.KILL: (_DONE, -9),
    Mode.FAIL_ONCE: (_DONE, _DISK),
    Mode.FAIL_ON: (_DONE, _DISK),
    Mode.SHORT: (_DONE,),
}
