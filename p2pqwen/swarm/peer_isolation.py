"""Who sends wrong bytes: where several peers gave blocks of a bad piece, each is tried alone.

libtorrent bans whoever alone gave a piece with a wrong hash. Where two did it trusts both less, and among few peers it
can end without the honest one, or ask nobody any more; and a block that is wrong in its padding alone makes v1 and v2
hashes of a hybrid torrent seem to contradict each other, which stops it for good. So a download that saw damage and
does not get on is begun again with one peer at a time. Who then sends wrong bytes is known, and asked no more.

Without piece layers every download goes to one peer at a time from the start (`singly`), until nobody is left: where a
file turns out to hold a wrong block only once all of it is there, libtorrent 2.1.1 books the pieces of it that it is
fetching again twice, and ends in a crash, a torrent that never lets go, or a piece nobody is ever asked for. With one
peer, which leaves at its first wrong piece, there is no such piece.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2pqwen.swarm.endpoint import Endpoint

TRIAL_SECONDS = 3.0
"""Seconds without a block after which a download that saw damage tries peers alone, and at most how long each."""
ENOUGH = 4
"""Good pieces after which a trial ends well."""
MAX_TRIED = 32
_BLIND = 3
_LEAST = 0.7


class TryOverError(Exception):
    """The try ends here. `bad`: the peer on trial sent wrong bytes; `cause`: the error that stopped the torrent."""

    def __init__(self, *, bad: bool, cause: Exception | None = None) -> None:
        self.bad, self.cause = bad, cause
        super().__init__("the try is over")


@dataclass(slots=True)
class PeerIsolation:
    """Whose turn it is. `only` None: everybody may be asked who is not `banned` (addresses).

    A try without a block for `trial_seconds` is over: all trials together take no more than half of `timeout`, after
    which the download gives up. With `singly`, whoever gives keeps its turn, unless it only drips.
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
        """Before the first try: `singly` gives one of these peers its turn."""
        if self.singly:
            self._line_up(peers)
            self._gained = not self._waiting
            self._call_next()

    @property
    def others_wait(self) -> bool:
        """Whether another peer waits for its turn."""
        return bool(self._waiting)

    def is_over(self, *, idle: bool, failed: bool, pieces: int) -> bool:
        """Tell whether the try has shown what it can: of `pieces` good ones, and `failed` ones, and nothing coming."""
        if self.only is None:
            return failed and (idle or self.singly)
        return idle or failed or (pieces >= ENOUGH and not self.singly)

    def next(self, over: TryOverError, peers: Iterable[Endpoint], *, gained: bool) -> None:
        """Go on after a try; `peers` are those known by now, and `gained` tells whether it brought a good piece.

        Raises what stopped the torrent where nobody is left who could be to blame for it.
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
