"""Who sends wrong bytes: where several peers gave blocks of a bad piece, each is tried alone.

libtorrent bans whoever alone gave a piece with a wrong hash. Where two did it trusts both less, and among few peers it
can end without the honest one, or ask nobody any more; and a block that is wrong in its padding alone makes v1 and v2
hashes of a hybrid torrent seem to contradict each other, which stops it for good. So a download that saw damage and
does not get on is begun again with one peer at a time. Who then sends wrong bytes is known, and asked no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from p2pqwen.swarm.endpoint import Endpoint

PATIENCE = 3.0
"""Seconds without a block after which a download that saw damage tries peers alone, and at most how long each."""
ENOUGH = 4
"""Good pieces after which a trial ends well."""
MAX_TRIED = 32
_BLIND = 3
_LEAST = 0.7


class TrialOverError(Exception):
    """The try ends here. `bad`: the peer on trial sent wrong bytes; `cause`: the error that stopped the torrent."""

    def __init__(self, *, bad: bool, cause: Exception | None = None) -> None:
        self.bad, self.cause = bad, cause
        super().__init__("the try is over")


@dataclass(slots=True)
class Trials:
    """Whose turn it is. `only` None: everybody may be asked who is not `banned` (addresses).

    A try without a block for `patience` seconds is over: all trials together take no more than half of `timeout`, after
    which the download gives up.
    """

    timeout: float
    only: Endpoint | None = None
    patience: float = PATIENCE
    banned: set[str] = field(default_factory=set)
    _waiting: list[Endpoint] = field(default_factory=list)
    _gained: bool = True
    _blind: int = 0

    def next(self, over: TrialOverError, peers: Iterable[Endpoint], *, gained: bool) -> None:
        """Go on after a try; `peers` are those known by now, and `gained` tells whether it brought a good piece.

        Raises what stopped the torrent where nobody is left who could be to blame for it.
        """
        if self.only is None:
            known = list(dict.fromkeys(peer for peer in peers if peer.host not in self.banned))
            self._waiting, self._gained = known[:MAX_TRIED], gained
            self._blind += not known
            share = self.timeout / 2 / max(1, len(self._waiting))
            self.patience = max(_LEAST, min(PATIENCE, share))
        else:
            self._gained |= gained
            if over.bad:
                self.banned.add(self.only.host)
        self._waiting = [peer for peer in self._waiting if peer.host not in self.banned]
        if over.cause is not None and not self._waiting and not self._gained and (self.banned or self._blind >= _BLIND):
            raise over.cause
        self.only = self._waiting.pop(0) if self._waiting else None
        if self.only is None:
            self.patience = PATIENCE
