"""What is preserved: one repository at one commit."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId

# huggingface_hub's validate_repo_id: 96 characters, no leading or trailing `-` or `.`, no `--` and no `..`.
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
MAX_REPO_ID = 96
SHORTEST = 7
"""Digits of a commit that name it where people read and type."""


class RepoKind(enum.StrEnum):
    """What a repository holds; the Hub keeps each kind's names apart."""

    MODEL = "model"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    """A repository's name on the Hub: `org/name`, and its kind. Raises `FormatError`."""

    text: str
    kind: RepoKind = RepoKind.MODEL

    def __post_init__(self) -> None:
        parts = self.text.split("/")
        valid = (
            len(parts) == 2
            and len(self.text) <= MAX_REPO_ID
            and all(_PART.fullmatch(part) and "--" not in part and ".." not in part for part in parts)
            and not self.text.endswith(".git")
        )
        if not valid:
            hint = "leave out the address: the name alone, such as Qwen/Qwen3-0.6B" if "://" in self.text else None
            raise FormatError("not a repository name", expected="ORG/MODEL", got=repr(self.text[:120]), hint=hint)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints: `org/name` of a model, `datasets/org/name`; raises `FormatError`."""
        for kind in RepoKind:
            prefix = f"{kind}s/"
            if kind is not RepoKind.MODEL and text.startswith(prefix) and text.count("/") > 1:
                return cls(text.removeprefix(prefix), kind)
        return cls(text)

    @property
    def org(self) -> str:
        """The organisation or user."""
        return self.text.split("/")[0]

    @property
    def name(self) -> str:
        """The name below its organisation."""
        return self.text.split("/")[1]

    def __str__(self) -> str:
        return self.text if self.kind is RepoKind.MODEL else f"{self.kind}s/{self.text}"


@dataclass(frozen=True, slots=True, order=True)
class SnapshotId:
    """A repository at one commit, printed `org/model@<40 hex>`."""

    repo: RepoId
    commit: CommitId

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `org/model@<40 hex>`; raises `FormatError`."""
        repo, _, commit = text.partition("@")
        return cls(RepoId(repo), CommitId.parse(commit))

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"

    @property
    def short(self) -> str:
        """The name as people read it: `org/model@` and the first 7 digits of the commit, as git shortens it."""
        return f"{self.repo}@{str(self.commit)[:SHORTEST]}"
