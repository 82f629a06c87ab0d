"""What a fetch depends on beside its target: the user's choices, and where it reads and writes."""

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
    from p2pqwen.operations.preserve.rebuild import Rebuild  # the way of last resort

DEFAULT_TIMEOUT = 180.0
"""Seconds without any progress (or without metadata) before a fetch gives up."""
MAX_TIMEOUT = 366 * 86400
"""More is a slip: no clock of ours counts as far as what may be written there."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """A user's choices. `repo`: for magnets that name none.

    `include`: what names the files to have (`torrent.chosen_files.selection`); `stored`: the
    globs of a partial snapshot as they stand in its marker. Without either: all of them.

    `insist_on_cache`: what cannot be laid into the Hugging Face cache is an error; `move_ref` insists as well.
    `trust_unverified`: an unvouched snapshot is taken at its word, for this one fetch.
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
        """Return the globs of the files to have, as they are stored, None for all; raises as `selection` does."""
        return selection(metainfo, self.include) if self.stored is None else self.stored

    @property
    def insists_on_cache(self) -> bool:
        """Tell whether the fetch fails where the snapshot cannot be laid into the Hugging Face cache."""
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
    """Where a fetch reads and writes: its home, whom it believes, the Hugging Face cache, the network.

    `known` are peers of earlier fetches; `rebuild` makes a torrent from its source, None: that is not to be done.
    `note_unverified` remembers that a snapshot was trusted unverified, before anything comes of it. `stand_ins` says
    where other origins may have a repository's files, as web seed patterns: they are asked when nobody else has them.
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
