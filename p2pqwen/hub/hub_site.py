"""A Hub's address and the URLs of its files; imports nothing that is slow to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pqwen.values.origin_site import OriginSeeds
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import api_path, hub_path


@dataclass(frozen=True, slots=True)
class HubSite:
    """A Hub's address: an `OriginSite`, and an `OriginAccess` if it has the user's token."""

    endpoint: str
    token: str | None = field(default=None, repr=False)

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases that a published torrent may list, if they pass the check.

        The first redirects. The second answers small files directly and LFS files with 404; with it, clients that
        mishandle redirects can finish.
        """
        hub = self.endpoint.rstrip("/")
        return OriginSeeds(f"{hub}/{hub_path(repo)}/resolve/", f"{hub}/api/resolve-cache/{api_path(repo)}/")

    def today(self, repo: RepoId) -> str:
        """Return the web seed pattern of a repository's files on its main branch, whatever the commit."""
        return f"{self.endpoint.rstrip('/')}/{hub_path(repo)}/resolve/main/{{path}}"
