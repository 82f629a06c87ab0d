"""Resolve the names that people type to known snapshots.

A repository means all its known snapshots, a commit may be shortened to its first digits, and a glob means all that it
matches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from p2pqwen.errors import FormatError, NotFoundError, UsageError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.near_names import did_you_mean
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_name import SnapshotName

_GLOB = frozenset("*?[")


def is_glob(text: str) -> bool:
    """Tell whether a name is a glob."""
    return not _GLOB.isdisjoint(text)


@dataclass(frozen=True, slots=True)
class KnownSnapshots:
    """The snapshots that a name may mean. `where` describes them in errors: `in the library`."""

    ids: frozenset[SnapshotId]
    where: str
    hint: str = "see `p2pqwen list`"

    @classmethod
    def of(cls, ids: Iterable[SnapshotId], where: str, hint: str = "see `p2pqwen list`") -> Self:
        """Return these snapshots; see the class for `where`."""
        return cls(frozenset(ids), where, hint)

    def meant(self, text: str) -> list[SnapshotId]:
        """Return every snapshot that `REPO`, `REPO@COMMIT` or a glob means, sorted.

        A glob matches repositories, or whole names if it has an `@`; it ignores case.
        Raises `UsageError` for an invalid name or an ambiguous short commit; `NotFoundError`.
        """
        if is_glob(text):
            found = [one for one in self.ids if _matches(one, text)]
            if not found:
                raise NotFoundError(f"no snapshot {self.where} matches {text}", hint=self.hint)
            return sorted(found)
        try:
            name = SnapshotName.parse(text)
        except FormatError as error:
            raise UsageError.of(error) from error
        return self._named(name)

    def whole(self, text: str) -> str:
        """Return `REPO@COMMIT` with the full commit if `text` shortens it, and any other text unchanged.

        Raises `UsageError` if it is ambiguous, `NotFoundError` if it matches none.
        """
        try:
            name = SnapshotName.parse(text)
        except FormatError:
            return text
        if not name.digits or len(name.digits) == 2 * CommitId.SIZE:
            return text
        return str(self._named(name)[0])

    def _named(self, name: SnapshotName) -> list[SnapshotId]:
        found = sorted(one for one in self.ids if name.names(one))
        if not found:
            guess = did_you_mean(name.repo, (one.repo for one in self.ids))
            raise NotFoundError(f"no snapshot {self.where} is {name}", hint=guess + self.hint)
        if name.digits and len(found) > 1:
            raise UsageError(
                f"{name} is short for {plural(len(found), 'snapshot')}",
                expected="more digits of the commit",
                got=", ".join(map(str, found)),
            )
        return found


def _matches(snapshot: SnapshotId, glob: str) -> bool:
    name = str(snapshot) if "@" in glob else str(snapshot.repo)
    return fnmatchcase(name.casefold(), glob.casefold())
