"""The data behind the Hub's answers: a repository at one commit, its files, its branches and tags."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId

FILE_BYTES = 1024
"""Approximate memory that a listed file takes."""


class HubFile(Protocol):
    """A file of a commit. `blob_id` is the git blob id of the content, or of its LFS pointer. Sizes are in bytes."""

    @property
    def path(self) -> str:
        """Its path in the repository."""

    @property
    def size(self) -> int:
        """The content's size."""

    @property
    def blob_id(self) -> str:
        """The id in the git tree."""

    @property
    def sha256(self) -> str | None:
        """The content's SHA-256 if the file is in LFS, else None."""

    @property
    def pointer_size(self) -> int:
        """The size of its LFS pointer, 0 if it has none."""


class NamedCommit(Protocol):
    """A repository at one commit, without its files."""

    @property
    def repo(self) -> RepoId:
        """The repository."""

    @property
    def commit(self) -> CommitId:
        """The commit."""

    @property
    def time(self) -> datetime:
        """When it was made."""

    @property
    def access(self) -> Access:
        """Who may read it."""

    @property
    def license(self) -> str | None:
        """The license that its model card names."""


class Commit(NamedCommit, Protocol):
    """A repository at one commit, with its files."""

    @property
    def files(self) -> Mapping[str, HubFile]:
        """Its files by path, in the order of the repository."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read a repository; `gated` is False, or the kind of gate."""

    private: bool = False
    gated: str | bool = False
    disabled: bool = False


OPEN = Access()


@dataclass(frozen=True, slots=True)
class Refs:
    """The branches and tags of a repository."""

    branches: Mapping[str, CommitId]
    tags: Mapping[str, CommitId]


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A row of a manifest as the Hub shows it."""

    path: str
    size: int
    blob_id: str
    sha256: str | None
    pointer_size: int

    @classmethod
    def of(cls, row: FileRow) -> ManifestFile:
        """Return the Hub's view of a row."""
        pointer = 0
        if row.lfs:
            pointer = len(pointer_bytes(row.sha256, row.size) if row.pointer is None else row.pointer.encode())
        return cls(row.path.text, row.size, str(row.git_oid), str(row.sha256) if row.lfs else None, pointer)


def etag(file: HubFile) -> str:
    """Return a file's ETag on the Hub and blob name in the cache: SHA-256 for LFS, else the git blob id."""
    return file.sha256 or file.blob_id


def folders_of(files: Collection[str]) -> set[str]:
    """Return every folder that holds one of these files, at any depth."""
    return {"/".join(parts[:depth]) for path in files for parts in (path.split("/"),) for depth in range(1, len(parts))}
