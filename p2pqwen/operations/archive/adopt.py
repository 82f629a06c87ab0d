"""What this node should hold, out of all that trusted indexes list: a plan with a reason for every snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from p2pqwen.index.withdrawals import Withdrawn
from p2pqwen.library.folders import device
from p2pqwen.library.snapshots import Library
from p2pqwen.manifest.license import is_licensed
from p2pqwen.stewardship.allocation import Allocation, Decision, Disk

AWAY = "already held, on a disk that is not connected"
EXCLUDED = "left out by --exclude"
CONTRADICTED = "trusted publishers contradict one another about it"


@dataclass(frozen=True, slots=True)
class Wishes:
    """Globs over `ORG/MODEL`, or the model's name alone: what goes first, and what is left out.

    `licenses`: globs over the licenses that are wanted, empty for any.
    """

    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """A plan. `held` is what is here already and counts against the budget, which is for everything together.

    `licenses` are those that trusted indexes name, by what `str` prints of a snapshot.
    """

    allocation: Allocation
    held: tuple[Decision, ...]
    licenses: Mapping[str, str | None]

    @property
    def chosen(self) -> tuple[Decision, ...]:
        """What to fetch, in the order of need."""
        return self.allocation.chosen


def disks_of(library: Library) -> list[Disk]:
    """Return where the library has room: of folders on one disk, the one with the least reserve; raises `DiskError`.

    What unfinished fetches have still to write is none.
    """
    found: dict[int, Disk] = {}
    claimed: dict[int, int] = {}
    for folder in library.folders:
        one = Disk(str(folder.root), folder.room)
        disk = device(folder.root)
        claimed[disk] = claimed.get(disk, 0) + library.claimed(folder)
        if disk not in found or found[disk].room < one.room:
            found[disk] = one
    return [replace(one, free=max(0, one.free - claimed[disk])) for disk, one in found.items()]


def words_of(withdrawn: Iterable[Withdrawn]) -> str:
    """Say who withdrew a snapshot, and why."""
    return "; ".join(map(str, withdrawn))


def unlicensed(name: str | None, wanted: Sequence[str]) -> str | None:
    """Say what is wrong with a license, where none of the wanted globs takes it."""
    if is_licensed(name, wanted):
        return None
    named = f"license {name}" if name else "it names no license"
    return f"{named}, wanted {', '.join(wanted)}"


def matches_any(patterns: Sequence[str], repo: str) -> bool:
    """Tell whether one of these globs names a repository, given what `str` prints of it."""
    name = repo.rpartition("/")[2]
    return any(fnmatchcase(repo if "/" in pattern else name, pattern) for pattern in patterns)
