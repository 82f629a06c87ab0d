"""Find the peers that send wrong bytes: if several peers gave blocks of a bad piece, each is tried alone.

libtorrent bans a peer that alone gave a piece with a wrong hash. If 2 peers gave it, libtorrent trusts both less; among
few peers it can then lose the honest one, or stop asking any. And a block that is wrong only in its padding makes the
v1 and v2 hashes of a hybrid torrent seem to contradict each other, which stops the torrent for good. So a download that
saw damage and makes no progress starts again with one peer at a time. A peer that then sends wrong bytes is known, and
is not asked again.

Without piece layers, a download asks one peer at a time from the start (`singly`), until no peer is left. There a file
may turn out to have a wrong block only once all of it has come. libtorrent 2.1.1 then counts the pieces that it fetches
again twice, which ends in a crash, a torrent that is never released, or a piece that is never requested. With one peer,
which is dropped at its first wrong piece, no piece is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2pqwen.swarm.endpoint import Endpoint

TRIAL_SECONDS = 3.0
"""Seconds without a block after which a download that saw damage tries peers alone; also the limit for each peer."""
ENOUGH = 4
"""Good pieces after which a trial succeeds."""
MAX_TRIED = 32
_BLIND = 3
_LEAST = 0.7


class TryOverError(Exception):
    """Raised to end a try. `bad`: the peer on trial sent wrong bytes; `cause`: the error that stopped the torrent."""

    def __init__(self, *, bad: bool, cause: Exception | None = None) -> None:
        self.bad, self.cause = bad, cause
        super().__init__("the try is over")


@dataclass(slots=True)
class PeerIsolation:
    """Whose turn it is. `only` is None if every peer that is not `banned` (by address) may be asked.

    A try without a block for `trial_seconds` is over. All trials together take at most half of `timeout`, after which
    the download gives up. With `singly`, a peer that delivers keeps its turn, unless it is very slow.
    """

    timeout: float
    singly: bool = False
    only: Endpoint | None = None
    trial_seconds: float = TRIAL_SECONDS
    banned: set[str] = field(default_factory=set)
    _waiting: list[Endpoint] = field(default_factory=list)
    _gained: bool = True
    _blind: int = 0

    def begin(self, peers: Iterable[Endpoint]) -> None:
        """Prepare the first try: with `singly`, one of these peers gets its turn."""
        if self.singly:
            self._line_up(peers)
            self._gained = not self._waiting
            self._call_next()

    @property
    def others_wait(self) -> bool:
        """Whether another peer waits for its turn."""
        return bool(self._waiting)

    def is_over(self, *, idle: bool, failed: bool, pieces: int) -> bool:
        """Tell whether the try is over. `pieces`: good ones so far; `failed`: one was bad; `idle`: no block comes."""
        if self.only is None:
            return failed and (idle or self.singly)
        return idle or failed or (pieces >= ENOUGH and not self.singly)

    def next(self, over: TryOverError, peers: Iterable[Endpoint], *, gained: bool) -> None:
        """Prepare the next try. `peers`: those known now; `gained`: whether the last try brought a good piece.

        Raises the error that stopped the torrent if no peer is left that could have caused it.
        """
        if self.only is None:
            self._line_up(peers)
            self._gained = gained
            self._blind += not self._waiting
        else:
            self._gained |= gained
            if over.bad:
                self.banned.add(self.only.host)
        self._waiting = [peer for peer in self._waiting if peer.host not in self.banned]
        if over.cause is not None and not self._waiting and not self._gained and (self.banned or self._blind >= _BLIND):
            raise over.cause
        self._call_next()

    def _line_up(self, peers: Iterable[Endpoint]) -> None:
        self._waiting = list(dict.fromkeys(peer for peer in peers if peer.host not in self.banned))[:MAX_TRIED]
        share = self.timeout / 2 / max(1, len(self._waiting))
        self.trial_seconds = max(_LEAST, min(TRIAL_SECONDS, share))

    def _call_next(self) -> None:
        self.only = self._waiting.pop(0) if self._waiting else None
        if self.only is None:
            self.trial_seconds = TRIAL_SECONDS
