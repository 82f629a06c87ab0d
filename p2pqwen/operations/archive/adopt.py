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
    """Globs over `ORG/MODEL`, or the model's name alone: what to prefer, and what to exclude.

    `licenses`: globs over the accepted licenses, empty for any.
    """

    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """A plan. `held` is already here and counts against the budget, which covers everything.

    `licenses` are those that trusted indexes name, by `str(snapshot)`.
    """

    allocation: Allocation
    held: tuple[Decision, ...]
    licenses: Mapping[str, str | None]

    @property
    def chosen(self) -> tuple[Decision, ...]:
        """What to fetch, most needed first."""
        return self.allocation.chosen


def disks_of(library: Library) -> list[Disk]:
    """Return where the library has room: for each disk, its folder with the least reserve; raises `DiskError`.

    Bytes that unfinished fetches have yet to write do not count as room.
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
    """Return who withdrew a snapshot, and why, as text."""
    return "; ".join(map(str, withdrawn))


def unlicensed(name: str | None, wanted: Sequence[str]) -> str | None:
    """Return what is wrong with a license; None if one of the wanted globs matches it."""
    if is_licensed(name, wanted):
        return None
    named = f"license {name}" if name else "it names no license"
    return f"{named}, wanted {', '.join(wanted)}"


def matches_any(patterns: Sequence[str], repo: str) -> bool:
    """Tell whether one of these globs matches a repository, given as `str(repo)`."""
    name = repo.rpartition("/")[2]
    return any(fnmatchcase(repo if "/" in pattern else name, pattern) for pattern in patterns)
