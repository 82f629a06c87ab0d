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
_NOBODY = frozenset({"datasets", "models", "spaces"})  # the Hub's own paths, where other kinds of repository lie
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
            and parts[0] not in _NOBODY
        )
        if not valid:
            hint = "leave out the address: the name alone, such as Qwen/Qwen3-0.6B" if "://" in self.text else None
            expected = "ORG/MODEL, or datasets/ORG/NAME"
            raise FormatError("not a repository name", expected=expected, got=repr(self.text[:120]), hint=hint)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints: `org/name` of a model, `datasets/org/name`; raises `FormatError`."""
        kind, name = _kind_and_name(text)
        return cls(name, kind)

    @property
    def owner(self) -> Owner:
        """The organisation or user, with the kind."""
        return Owner(self.org, self.kind)

    @property
    def org(self) -> str:
        """The organisation or user."""
        return self.text.split("/")[0]

    @property
    def name(self) -> str:
        """The name below its organisation."""
        return self.text.split("/")[1]

    def __str__(self) -> str:
        return _named(self.kind, self.text)


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """An organisation or user, and the kind of its repositories that is meant. Raises `FormatError`."""

    name: str
    kind: RepoKind = RepoKind.MODEL

    def __post_init__(self) -> None:
        try:
            RepoId(f"{self.name}/x", self.kind)
        except FormatError as error:
            got = repr(self.name[:80])
            raise FormatError("not an organisation's name", expected="Qwen, or datasets/Qwen", got=got) from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints: `org`, or `datasets/org` for its datasets; raises `FormatError`."""
        kind, name = _kind_and_name(text)
        return cls(name, kind)

    def __str__(self) -> str:
        return _named(self.kind, self.name)


def _kind_and_name(text: str) -> tuple[RepoKind, str]:
    first, slash, rest = text.partition("/")
    kind = next((one for one in RepoKind if one is not RepoKind.MODEL and first == f"{one}s"), None)
    return (RepoKind.MODEL, text) if kind is None or not slash else (kind, rest)


def _named(kind: RepoKind, text: str) -> str:
    return text if kind is RepoKind.MODEL else f"{kind}s/{text}"


@dataclass(frozen=True, slots=True, order=True)
class SnapshotId:
    """A repository at one commit, printed `org/model@<40 hex>`, a dataset's `datasets/org/name@<40 hex>`."""

    repo: RepoId
    commit: CommitId

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` prints; raises `FormatError`."""
        repo, _, commit = text.partition("@")
        return cls(RepoId.parse(repo), CommitId.parse(commit))

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"

    @property
    def short(self) -> str:
        """The name as people read it: `org/model@` and the first 7 digits of the commit, as git shortens it."""
        return f"{self.repo}@{str(self.commit)[:SHORTEST]}"
