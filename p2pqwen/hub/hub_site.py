"""A Hub's address and the URLs of its files; imports nothing that is slow to import."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pqwen.values.origin_site import OriginSeeds
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import api_path, hub_path


@dataclass(frozen=True, slots=True)
class HubSite:
    """Where a Hub is: an `OriginSite`, and an `OriginAccess` where the user's token for it is given."""

    endpoint: str
    token: str | None = field(default=None, repr=False)

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases that a published torrent may list, if they pass the check.

        The first redirects; the second answers small files directly and has no LFS files (404), which is what lets
        clients that stumble over redirects finish.
        """
        hub = self.endpoint.rstrip("/")
        return OriginSeeds(f"{hub}/{hub_path(repo)}/resolve/", f"{hub}/api/resolve-cache/{api_path(repo)}/")

    def today(self, repo: RepoId) -> str:
        """Return the web seed pattern of a repository's files as they are there now, under whatever commit."""
        return f"{self.endpoint.rstrip('/')}/{hub_path(repo)}/resolve/main/{{path}}"
