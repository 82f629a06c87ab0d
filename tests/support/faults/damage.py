"""Damage files by truncating, removing, swapping or extending them: it must be named, and only it fetched again.

A run damages a few files of a snapshot, or of what the program keeps beside it; its number determines which.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.verify.verify import verify_held
from tests.support.command import CommandLine
from tests.support.faults.judge import Judge
from tests.support.faults.scenery import QUIET, Published, Scenery, fetched
from tests.support.faults.strikes import Outcome
from tests.support.faults.works import has_new_everywhere
from tests.support.models import noise
from tests.support.warm import WarmCommand

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DamagePlan:
    """A plan: `template` is the user's state, `harms` are pairs of a kind of damage and a file."""

    number: int
    template: str
    harms: tuple[tuple[str, str], ...]
    seed: str

    @classmethod
    def of(cls, number: int) -> DamagePlan:
        dice = random.Random(f"damage {number}")
        template = dice.choice(("holder", "holder", "half"))
        harms = tuple((dice.choice(list(HARMS)), dice.choice(PLACES)) for _ in range(dice.choice((1, 1, 2, 3))))
        return cls(number, template, harms, f"damage {number}")


PLACES = ("config.json", "model.safetensors", "vocab.bin", "tokenizer/résumé.json", "empty.txt",
          ".torrent", ".resume", ".partial", "verified", "state.sqlite")  # fmt: skip


@dataclass
class Damager:
    """Runs plans in one scenery; `run` may be called from several threads."""

    scene: Scenery
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, plan: DamagePlan) -> Outcome:
        """Damage, verify, fetch, judge."""
        folder = self.scene.folder / "runs" / f"damage-{plan.number}"
        shutil.rmtree(folder, ignore_errors=True)
        user = self.scene.user(plan.template, folder)
        judge = Judge.of(self.scene, user)
        dice = random.Random(plan.seed)
        for harm, place in plan.harms:
            path = _find(user, self.scene.new, place)
            if path is not None:
                HARMS[harm](path, dice)
        problems = list(self._verify(user)) if plan.template == "holder" else []
        ends: list[int] = []
        problems += self._fetch(user, judge, ends)
        if not problems:
            shutil.rmtree(folder)
        return Outcome(plan, tuple(ends), tuple(problems))

    def _verify(self, user: CommandLine) -> Iterator[str]:
        """Yield it if `verify` misses wrong files, or names right ones."""
        new, folder = self.scene.new, fetched(user, self.scene.new)
        wrong = {name for name, data in new.files.items() if not _is(folder / name, data)}
        held = Library(Home(user.home)).all()
        if held:
            try:
                bad = {one.path for one in verify_held(held[0], ()).bad}
            except Exception as error:  # noqa: BLE001 - any error means that it was noticed
                if type(error).__module__ != "p2pqwen.errors":
                    yield f"verify broke: {error!r}"
                return
            if not wrong <= bad or not bad <= wrong | {f"{new.commit}.torrent"}:
                yield f"verify names {sorted(bad)}, wrong are {sorted(wrong)}"

    def _fetch(self, user: CommandLine, judge: Judge, ends: list[int]) -> Iterator[str]:
        missing = judge.missing(self.scene.new)
        words = (
            "fetch",
            self.scene.new.torrent,
            "--peer",
            self.scene.fast,
            *QUIET,
            "--no-web-seeds",
            "--timeout",
            "30",
        )
        with WarmCommand(user, (*words, "--json")) as command:
            ended = command.wait(SECONDS)
        ends.append(ended.code)
        if ended.code != 0:
            yield f"the fetch failed: {ended.stderr[-2000:]}"
            return
        if ended.json["bytes_from_peers"] > missing:
            yield f"of {missing} wrong bytes {ended.json['bytes_from_peers']} were fetched"
        yield from judge.problems()
        yield from has_new_everywhere(self.scene, judge)


def _find(user: CommandLine, new: Published, place: str) -> Path | None:
    folder = fetched(user, new)
    found = {
        ".torrent": folder.with_suffix(".torrent"),
        ".partial": folder.with_suffix(".partial"),
        ".resume": next((user.home / "resume").glob("*.resume"), None),
        "verified": next((user.home / "verified").glob("*.json"), None),
        "state.sqlite": user.home / "state.sqlite",
    }
    path = found.get(place, folder / place)
    return path if path is not None and path.is_file() else None


def _truncate(path: Path, dice: random.Random) -> None:
    _separate(path)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * dice.random()))


def _remove(path: Path, _: random.Random) -> None:
    path.unlink()


def _grow(path: Path, dice: random.Random) -> None:
    _separate(path)
    with path.open("ab") as file:
        file.write(noise(dice.choice((1, 5000, 300_000)), "growth"))


def _swap(path: Path, dice: random.Random) -> None:
    """Exchange it with another file beside it, or its own halves if there is none."""
    # Not the user's config: with garbage in it, every command refuses to work.
    others = sorted(
        one for one in path.parent.iterdir() if one.is_file() and one.name not in {path.name, "config.toml"}
    )
    if others:
        other, aside = dice.choice(others), path.with_name("aside")
        path.rename(aside)
        other.rename(path)
        aside.rename(other)
    else:
        data = path.read_bytes()
        _write(path, data[len(data) // 2 :] + data[: len(data) // 2])


def _empty(path: Path, _: random.Random) -> None:
    _write(path, b"")


def _zeros(path: Path, dice: random.Random) -> None:
    """Overwrite a block with zeros, as a disk may return it."""
    _separate(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * dice.random()))
        file.write(bytes(min(4096, size - file.tell())))


def _write(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _separate(path: Path) -> None:
    """Replace a hard link by a copy: the other links must not change."""
    if path.stat().st_nlink > 1:
        _write(path, path.read_bytes())


def _is(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


HARMS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncate,
    "missing": _remove,
    "swapped": _swap,
    "grown": _grow,
    "emptied": _empty,
    "zeroed": _zeros,
}
