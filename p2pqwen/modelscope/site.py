"""ModelScope's address and the URLs of its files."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pqwen.values.origin_site import OriginSeeds
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import api_path, hub_path

MAIN = "master"
"""The main branch of every repository."""


@dataclass(frozen=True, slots=True)
class ModelScopeSite:
    """A ModelScope's address: an `OriginSite`, and an `OriginAccess` if it has the user's token."""

    endpoint: str
    token: str | None = field(default=None, repr=False)

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the base that a published torrent may list, if it passes the check."""
        return OriginSeeds(f"{self.endpoint.rstrip('/')}/{api_path(repo)}/resolve/")

    def today(self, repo: RepoId) -> str:
        """Return the web seed pattern of a repository's files on its main branch, whatever the commit."""
        return f"{self.web_seeds(repo).whole}{MAIN}/{{path}}"

    def api(self, repo: RepoId, what: str) -> str:
        """Return the path of an API call about a repository."""
        return f"/api/v1/{api_path(repo)}/{what}"

    def git(self, repo: RepoId) -> str:
        """Return a repository's git URL."""
        return f"{self.endpoint.rstrip('/')}/{hub_path(repo)}.git"
