"""The calls on snapshots and limits, with the same rules whether or not a node runs.

Every method takes a call's arguments as plain values, and returns what the commands' `--json` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from p2pqwen.errors import NotFoundError, P2pqwenError, UsageError
from p2pqwen.library.folders import AwayError
from p2pqwen.library.own_files import Left
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.operations.node.limits import LimitsAnswer, Priority
from p2pqwen.operations.node.preferences import Choice, Choices, limits_answer
from p2pqwen.operations.verify.target import held_snapshot
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.known_snapshots import KnownSnapshots
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonValue

_LIMITS = ("upload", "download", "monthly_upload", "hours")

Given = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """A snapshot, and the choice for it."""

    snapshot: SnapshotId = field(metadata=FLAT)
    choice: Choice = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class ChoicesAnswer:
    """The choices for several snapshots."""

    snapshots: tuple[ChoiceAnswer, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """A snapshot that was removed; `path` is where it was, None if nothing was deleted.

    `left`: what remains there because it is not one of the snapshot's files.
    """

    snapshot: SnapshotId = field(metadata=FLAT)
    path: Path | None
    left: tuple[Left, ...] = ()


@dataclass(frozen=True, slots=True)
class RemovedAnswer:
    """What `remove` removed."""

    removed: tuple[Removed, ...]


class Fetching(Protocol):
    """The fetches of a running node, by snapshot."""

    def snapshots(self) -> list[SnapshotId]:
        """Return the snapshots being fetched."""

    def end(self, snapshot: SnapshotId) -> None:
        """End the fetch of a snapshot."""


@dataclass(slots=True)
class SnapshotCalls:
    """The calls. `changed` makes a running node look at once; `remove_held` makes it stop serving before it deletes.

    Without a node, `removed` receives what was deleted.
    """

    library: Library
    choices: Choices
    changed: Callable[[], None] = lambda: None
    remove_held: Callable[[HeldSnapshot], tuple[Left, ...]] | None = None
    fetching: Fetching | None = None
    removed: Callable[[SnapshotId], None] = lambda _: None

    def pause(self, given: Given) -> ChoiceAnswer:
        """Pause `target`."""
        return self._chosen(given, lambda one: self.choices.pause(one, paused=True))

    def resume(self, given: Given) -> ChoiceAnswer:
        """Resume `target`."""
        return self._chosen(given, lambda one: self.choices.pause(one, paused=False))

    def pin(self, given: Given) -> ChoiceAnswer:
        """Keep `target` whatever a plan says."""
        return self._chosen(given, lambda one: self.choices.pin(one, pinned=True))

    def unpin(self, given: Given) -> ChoiceAnswer:
        """Let `target` be given up or removed again."""
        return self._chosen(given, lambda one: self.choices.pin(one, pinned=False))

    def prioritise(self, given: Given) -> ChoiceAnswer:
        """Set the `priority` of `target`."""
        priority = Priority.read(_text(given, "priority"))
        return self._chosen(given, lambda one: self.choices.prioritise(one, priority))

    def remove(self, given: Given) -> RemovedAnswer:
        """Delete `target` from the library, or end its fetch if nothing is held yet."""
        target = _text(given, "target")
        try:
            held = held_snapshot(target, self.library)
        except AwayError as error:
            self._refuse_pinned(error.snapshot)
            self.library.forget(error.snapshot)  # its files stay where they are
            self.choices.forget(error.snapshot)
            return RemovedAnswer((Removed(error.snapshot, None),))
        except NotFoundError:
            snapshot = self._fetched(target)
            if snapshot is None or self.fetching is None:
                raise
            self.fetching.end(snapshot)
            self.choices.forget(snapshot)
            return RemovedAnswer((Removed(snapshot, None),))
        self._refuse_pinned(held.id)
        if self.remove_held is not None:
            left = self.remove_held(held)
        else:
            left = self.library.remove(held)
            self.choices.forget(held.id)
            self.removed(held.id)
        return RemovedAnswer((Removed(held.id, held.folder, left),))

    def limits(self, given: Given) -> LimitsAnswer:
        """Change the limits that are given (as people write them; None keeps one), and return them all."""
        if unknown := given.keys() - set(_LIMITS):
            raise UsageError(f"there is no limit {min(unknown)!r}", expected=", ".join(_LIMITS))
        words = {name: _optional(given, name) for name in _LIMITS}
        if any(word is not None for word in words.values()):
            limits = self.choices.change_limits(lambda before: before.changed(**words))
            self.changed()
        else:
            limits = self.choices.limits()
        now = datetime.now().astimezone()
        return limits_answer(limits, self.choices.month(now), now)

    def _refuse_pinned(self, snapshot: SnapshotId) -> None:
        if self.choices.of(snapshot).pinned:
            raise P2pqwenError(f"{snapshot} is pinned", hint=f"`p2pqwen unpin {snapshot}` first")

    def _chosen(self, given: Given, change: Callable[[SnapshotId], Choice]) -> ChoiceAnswer:
        target = _text(given, "target")
        try:
            snapshot = held_snapshot(target, self.library).id
        except NotFoundError:
            found = self._fetched(target)
            if found is None:
                raise
            snapshot = found
        choice = change(snapshot)
        self.changed()
        return ChoiceAnswer(snapshot, choice)

    def _fetched(self, target: str) -> SnapshotId | None:
        running = [] if self.fetching is None else self.fetching.snapshots()
        try:
            named = KnownSnapshots.of(running, "being fetched").meant(target)
        except NotFoundError:
            return None
        if len(named) > 1:
            raise P2pqwenError(f"several snapshots of {target} are being fetched", hint="name the commit")
        return named[0]


def _text(given: Given, name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise UsageError(f"the call needs {name}", expected="a text")
    return value


def _optional(given: Given, name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise UsageError(f"limit {name!r}", expected="a text, as `p2pqwen limits` accepts it", got=type(value).__name__)
