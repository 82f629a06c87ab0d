"""Where an origin is, and the web seeds it offers: what can be said of it without asking it anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from p2pqwen.values.snapshot_id import OriginName, RepoId


@dataclass(frozen=True, slots=True)
class OriginSeeds:
    """The BEP 19 bases from which an origin serves any commit of a repository.

    `whole` serves every file. `partial` serves some of them and may answer something else for the others, so what it
    says against a snapshot is no evidence; None where the origin has no such base.
    """

    whole: str
    partial: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Both, the one that serves every file first."""
        return (self.whole,) if self.partial is None else (self.whole, self.partial)


class OriginSite(Protocol):
    """An origin's address, as strangers know it."""

    @property
    def endpoint(self) -> str:
        """Its URL."""

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases of a repository."""


class OriginAccess(OriginSite, Protocol):
    """An origin's address and the user's leave to read there."""

    @property
    def token(self) -> str | None:
        """What requests are authorised with, for its own scheme, host and port alone; None where there is none."""


@dataclass(frozen=True, slots=True)
class Sites:
    """Where the Hub is, and beside it ModelScope: an `OriginAccess` to the Hub that knows the web seeds of both."""

    hub: OriginAccess
    modelscope: OriginSite

    @property
    def endpoint(self) -> str:
        """The Hub's URL."""
        return self.hub.endpoint

    @property
    def token(self) -> str | None:
        """What requests to the Hub are authorised with, and no others."""
        return self.hub.token

    def web_seeds(self, repo: RepoId) -> OriginSeeds:
        """Return the bases of a repository where it lies."""
        site: OriginSite = self.hub if repo.kind.origin is OriginName.HUB else self.modelscope
        return site.web_seeds(repo)
