"""An origin's address and its web seeds: what is known of it without a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from p2pqwen.values.snapshot_id import OriginName, RepoId


@dataclass(frozen=True, slots=True)
class OriginSeeds:
    """The BEP 19 bases from which an origin serves any commit of a repository.

    `whole` serves every file. `partial` serves some files and may answer anything for the others, so its answers are no
    evidence against a snapshot; None if the origin has no such base.
    """

    whole: str
    partial: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Both bases, `whole` first."""
        return (self.whole,) if self.partial is None else (self.whole, self.partial)


class OriginSite(Protocol):
    """An origin's address, without the user's token."""

    @property
    def endpoint(self) -> str:
        """Its URL."""

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases of a repository."""


class OriginAccess(OriginSite, Protocol):
    """An origin's address and the user's token for it."""

    @property
    def token(self) -> str | None:
        """The token for requests to its own scheme, host and port only, or None."""


@dataclass(frozen=True, slots=True)
class Sites:
    """The Hub and ModelScope: an `OriginAccess` to the Hub that knows the web seeds of both."""

    hub: OriginAccess
    modelscope: OriginSite

    @property
    def endpoint(self) -> str:
        """The Hub's URL."""
        return self.hub.endpoint

    @property
    def token(self) -> str | None:
        """The token for requests to the Hub only."""
        return self.hub.token

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases of a repository at its origin."""
        site: OriginSite = self.hub if repo.kind.origin is OriginName.HUB else self.modelscope
        return site.web_seeds(repo)
