"""What a fetch depends on besides its target: the user's choices, and where it reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pqwen.errors import UsageError
from p2pqwen.hub.cache import HubCache
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.operations.fetch.plan import Sources
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.chosen_files import selection
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.webseed.policy import WebSeedUse

if TYPE_CHECKING:
    from p2pqwen.operations.preserve.rebuild import Rebuild  # the last resort

DEFAULT_TIMEOUT = 180.0
"""Seconds without any progress (or without metadata) before a fetch gives up."""
MAX_TIMEOUT = 366 * 86400
"""A year. More is a mistake, and larger numbers would overflow clocks."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """A user's choices. `repo`: for magnets that name none.

    `include`: the names of the wanted files (`torrent.chosen_files.selection`); `stored`: the globs in the marker of a
    partial snapshot. Without either: all files.

    `insist_on_cache`: failing to lay the snapshot into the Hugging Face cache is an error; `move_ref` implies it.
    `trust_unverified`: accept an unvouched snapshot, for this fetch only.
    """

    peers: tuple[Endpoint, ...] = ()
    web_seeds: tuple[str, ...] = ()
    use_web_seeds: WebSeedUse = WebSeedUse.AUTO
    use_peers: bool = True
    include: tuple[str, ...] | None = None
    stored: tuple[str, ...] | None = None
    timeout: float = DEFAULT_TIMEOUT
    repo: RepoId | None = None
    into_hub_cache: bool = True
    insist_on_cache: bool = False
    move_ref: bool = False
    trust_unverified: bool = False

    def selection(self, metainfo: Metainfo) -> tuple[str, ...] | None:
        """Return the globs of the wanted files, in the stored form, None for all; raises as `selection` does."""
        return selection(metainfo, self.include) if self.stored is None else self.stored

    @property
    def insists_on_cache(self) -> bool:
        """Tell whether the fetch fails if the snapshot cannot be laid into the Hugging Face cache."""
        return self.insist_on_cache or self.move_ref

    def __post_init__(self) -> None:
        if self.use_web_seeds is WebSeedUse.NEVER and not self.use_peers:
            raise UsageError("--only-web-seeds and --no-web-seeds leave no source to fetch from")
        if not self.use_peers and self.peers:
            raise UsageError("--only-web-seeds and --peer contradict each other")
        if not 0 < self.timeout <= MAX_TIMEOUT:
            expected = f"a number of seconds above 0, and at most {MAX_TIMEOUT:,} (a year)"
            raise UsageError("--timeout", expected=expected, got=self.timeout)


@dataclass(frozen=True, slots=True)
class FetchContext:
    """Where a fetch reads and writes: its home, its trusted sources, the Hugging Face cache, the network.

    `known` are peers of earlier fetches; `rebuild` makes a torrent from its source, None: do not. `note_unverified`
    records that a snapshot was trusted unverified, before the fetch uses it. `stand_ins` returns web seed patterns at
    which other origins may have a repository's files: they are asked when no other source has them.
    """

    home: Home
    sources: Sources
    hub_cache: HubCache
    site: OriginAccess
    network: SwarmSettings
    known: KnownPeers
    rebuild: Rebuild | None = None
    web_seed_bases: tuple[str, ...] = ()
    note_unverified: Callable[[SnapshotId, InfoHash], None] = lambda *_: None
    stand_ins: Callable[[RepoId], tuple[str, ...]] = lambda _: ()
