"""How people name one snapshot among several: the repository, with its commit or the commit's first digits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

MIN_DIGITS = 7
"""The length of git's short ids."""
_DIGITS = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},40}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SnapshotName:
    """A repository and the first digits of a commit; no digits mean any commit. Raises `FormatError`."""

    repo: RepoId
    digits: str = ""

    def __post_init__(self) -> None:
        if self.digits and not _DIGITS.fullmatch(self.digits):
            raise FormatError(
                "not a commit", expected=f"{MIN_DIGITS} to 40 lower-case hex digits", got=repr(self.digits[:80])
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ORG/MODEL` or `ORG/MODEL@COMMIT`, with `datasets/` before a dataset; raises `FormatError`."""
        repo, at, digits = text.strip().partition("@")
        if at and not digits:
            raise FormatError("no commit after @", expected="ORG/MODEL[@COMMIT]", got=repr(text[:160]))
        return cls(RepoId.parse(repo), digits.lower())

    def names(self, snapshot: SnapshotId) -> bool:
        """Tell whether it may mean this snapshot."""
        return snapshot.repo == self.repo and str(snapshot.commit).startswith(self.digits)

    def __str__(self) -> str:
        return f"{self.repo}@{self.digits}" if self.digits else str(self.repo)
