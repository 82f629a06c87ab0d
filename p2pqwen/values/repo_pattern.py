"""One pattern for the web seeds of many repositories: `{repo}` is a repository's path on a Hub."""

from __future__ import annotations

from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import hub_path

_REPO = "{repo}"


def expand(pattern: str, repo: RepoId) -> str:
    """Return a pattern's address for a repository: with `org/name` or `datasets/org/name`."""
    return pattern.replace(_REPO, hub_path(repo))


def pattern_of(url: str, repo: RepoId) -> str:
    """Return the pattern that expands to a repository's address."""
    return url.replace(hub_path(repo), _REPO)
