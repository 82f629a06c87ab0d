"""The answer of `library move --json`, and the library folder that a person named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.errors import NotFoundError, P2pqwenError
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.moving import Moved
from p2pqwen.library.own_files import Left
from p2pqwen.library.snapshots import Library
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class MovedAnswer:
    """A snapshot that was moved. Byte counts: `size` of its files, `copied` of those that had to be written.

    `left`: what remains at the old place, or was set aside at the new one.
    """

    snapshot: SnapshotId = field(metadata=FLAT)
    path: Path
    came_from: Path
    size: int
    copied: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class NotMovedAnswer:
    """A snapshot that was not moved, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class MoveAnswer:
    """What a move did. `came_from` and `to` are folders of the library."""

    to: Path
    moved: tuple[MovedAnswer, ...]
    failed: tuple[NotMovedAnswer, ...]

    @classmethod
    def of(cls, done: Iterable[Moved], to: Path, failed: Iterable[tuple[str, P2pqwenError]]) -> MoveAnswer:
        """Return the answer about it."""
        return cls(
            to,
            tuple(
                MovedAnswer(one.held.id, one.held.folder, one.came_from, one.size, one.copied, one.left) for one in done
            ),
            tuple(NotMovedAnswer(name, error.message) for name, error in failed),
        )


def folder_named(library: Library, named: Path) -> LibraryFolder:
    """Return the connected library folder that `named` means; raises `NotFoundError`, which lists them."""
    wanted = named.expanduser().resolve()
    for one in library.folders:
        if one.root.resolve() == wanted:
            return one
    there = ", ".join(str(one.root) for one in library.folders)
    hint = "name it in config.toml: [library] folders"
    raise NotFoundError(
        f"{named} is not a folder of the library, or its disk is not connected", expected=there, hint=hint
    )
