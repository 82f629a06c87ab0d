"""`git_commit`, imported on first use.

dulwich and urllib3 take as long to import as a listing takes to arrive. A listing does not need them, and `preserve`
asks git while files are downloading.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.repo_path import RepoPath


def commit_object(source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts) -> bytes:
    """Do what `git_commit.commit_object` does."""
    from p2pqwen.hub import git_commit  # noqa: PLC0415 - see above

    return git_commit.commit_object(source, commit, token, named=named)


def tree_rows(
    source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts
) -> list[tuple[RepoPath, str, GitOid]]:
    """Do what `git_commit.tree_rows` does."""
    from p2pqwen.hub import git_commit  # noqa: PLC0415 - see above

    return git_commit.tree_rows(source, commit, token, named=named)


def tip(url: str, name: str, *, named: NamedHosts) -> CommitId:
    """Do what `git_commit.tip` does."""
    from p2pqwen.hub import git_commit  # noqa: PLC0415 - see above

    return git_commit.tip(url, name, named=named)


def small_blobs(
    oids: Collection[GitOid], source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts
) -> dict[GitOid, bytes]:
    """Do what `git_commit.small_blobs` does."""
    from p2pqwen.hub import git_commit  # noqa: PLC0415 - see above

    return git_commit.small_blobs(oids, source, commit, token, named=named)
