"""What the operations need from an origin: the Hub, a mirror of it, or another host of repositories at commits.

An adapter has these methods and need not inherit; `p2pqwen/app.py` names the one in use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from p2pqwen.values.digest import GitOid
from p2pqwen.values.listing import ListedFile, ListedRepo, Listing
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import Owner, RepoId, SnapshotId


class Origin(Protocol):
    """An origin at one address. Its methods may be called from several threads at once.

    Every method that sends a request raises `NotFoundError` (`NotShownError` if the origin itself says that it shows no
    such thing), `NetworkError`, `P2pqwenError` (refused: gated, bad token), and `FormatError` for inconsistent answers.
    Answers are checked: files against the listing, the listing against the commit object.
    """

    @property
    def site(self) -> OriginAccess:
        """Where its files can be read in ranges, with which token, and which web seeds it offers to strangers."""

    def telling_waits(self, listener: Callable[[float], None]) -> AbstractContextManager[None]:
        """Within the block, pass the seconds of every long wait that the origin's limits impose to `listener`."""

    def resolve(self, repo: RepoId, revision: str | None = None, *, renamed: bool = False) -> Listing:
        """Find the commit of a branch, tag, full or shortened id (None: the main branch) and list its files.

        An origin may know the repository by another name. If `renamed`, the listing has that name; else it raises
        `VerificationError`.
        """

    def repos(self, owner: Owner) -> tuple[ListedRepo, ...]:
        """List every repository of an organisation or user, by name; an unknown owner has none."""

    def serves(self, snapshot: SnapshotId) -> bool:
        """Tell whether it still shows this commit to everyone; raises `NetworkError` if it does not say."""

    def download(
        self,
        listing: Listing,
        file: ListedFile,
        folder: Path,
        on_bytes: Callable[[int], None] = ...,
        on_notice: Callable[[str], None] = ...,
    ) -> Path:
        """Download one file to `folder/path` and return that path; a file that is there with its size is not fetched.

        `on_bytes` gets the number of bytes as they arrive, negative if they begin again; `on_notice` gets messages for
        the user. Also raises `DiskError`. The content need not be hashed here.
        """

    def other_way(self, folder: Path, file: ListedFile) -> bool:
        """Note that what a download left in `folder` is not the file that is listed.

        Return whether there is another way to get it, which the next download takes; no way is offered twice.
        """

    def partial(self, folder: Path, file: ListedFile) -> Path | None:
        """Return the file that a download into `folder` is writing now, if there is one; it may vanish at any time."""

    def clean_staging(self, folder: Path) -> None:
        """Remove what downloads into this folder left beside it."""

    def commit_object(self, snapshot: SnapshotId) -> bytes:
        """Return the raw git commit object, whose hash is the commit."""

    def tree_rows(self, snapshot: SnapshotId) -> Sequence[tuple[RepoPath, str, GitOid]]:
        """Return the rows of the commit's git tree: (path, mode, id), for modes that a listing lacks."""

    def small_blobs(self, snapshot: SnapshotId, oids: Collection[GitOid]) -> Mapping[GitOid, bytes]:
        """Return small git blobs of a commit, such as LFS pointers; missing ones are left out."""
