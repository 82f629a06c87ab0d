"""An origin's listings: a repository's files at one commit with their hashes, and an organisation's repositories."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A listed file; `blob_oid` is its id in the git tree, for an LFS file that of the pointer.

    For a plain file, an origin gives that id, the SHA-256 of the content (`sha256`), or both. `xet_hash`: its name in
    the Hub's Xet storage, None if it is not there.
    """

    path: RepoPath
    size: int
    blob_oid: GitOid | None
    lfs_sha256: Sha256 | None
    sha256: Sha256 | None = None
    xet_hash: str | None = None

    @property
    def content(self) -> Sha256 | None:
        """The SHA-256 of the content, None if it is not listed."""
        return self.sha256 if self.lfs_sha256 is None else self.lfs_sha256


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit with all its files. `notes`: messages about it for people.

    `shown`: whether the repository's own origin shows it now; None: not asked, or no clear answer.
    """

    snapshot: SnapshotId
    gated: bool
    private: bool
    files: tuple[ListedFile, ...]
    disabled: bool = False
    notes: tuple[str, ...] = ()
    shown: bool | None = True

    @property
    def closed(self) -> str | None:
        """Why it is not public, None if it is."""
        return "disabled" if self.disabled else "gated" if self.gated else "private" if self.private else None


@dataclass(frozen=True, slots=True)
class ListedRepo:
    """One row of an organisation's list. `license` is the model card's, None if it names none."""

    repo: RepoId
    gated: bool
    private: bool
    license: str | None
