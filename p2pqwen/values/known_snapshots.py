"""Which of the snapshots that are known somebody means: the one place where what people type becomes whole names.

A repository means every snapshot of it that is known, a commit may be shortened to its first digits, and a glob means
all that it matches.
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
    """Tell whether a name stands for all that it matches."""
    return not _GLOB.isdisjoint(text)


@dataclass(frozen=True, slots=True)
class KnownSnapshots:
    """The snapshots that a name may mean. `where` says what they are, for errors: `in the library`."""

    ids: frozenset[SnapshotId]
    where: str
    hint: str = "see `p2pqwen list`"

    @classmethod
    def of(cls, ids: Iterable[SnapshotId], where: str, hint: str = "see `p2pqwen list`") -> Self:
        """Return these; see the class for `where`."""
        return cls(frozenset(ids), where, hint)

    def meant(self, text: str) -> list[SnapshotId]:
        """Return every snapshot that `REPO`, `REPO@COMMIT` or a glob means, sorted.

        A glob is of a repository, or of a whole name where it holds an `@`, in any case.
        Raises `UsageError` for what is no name, and for a shortened commit that fits several; `NotFoundError`.
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
        """Return `REPO@COMMIT` with its whole commit where `text` shortens it, and any other text as it is.

        Raises `UsageError` where it fits several, `NotFoundError` where it fits none.
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
