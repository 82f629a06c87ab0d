"""When a fetch uses web seeds: `never`, `always`, or `auto`, which leaves the Hub to those without peers.

`auto`, decided a few times a second:

1. web seeds join at once if no peer can ever be found (no peer given, no DHT, LSD or tracker);
2. they join if no peer has been connected for `LONELY` seconds, if no peer has offered some missing piece for
   `LONELY` seconds, or if the peers together gave less than `SLOW` for `PATIENT` seconds;
3. they leave if every missing piece is offered and peers gave `FAST` or more for `PATIENT` seconds in a row, but not
   before `DWELL` seconds have passed since they joined.

`SLOW` and `FAST` are far apart, and each condition must last, so that the decision does not flip back and forth. The
rates are those of peers alone: if web seeds counted, the rule would judge its own effect. Under the user's download
limit, peers that fill half of it are not slow, and peers that fill nine tenths of it are fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

LONELY = 5.0
PATIENT = 20.0
DWELL = 30.0
SLOW = 1_000_000
FAST = 8_000_000


class WebSeedUse(StrEnum):
    """The user's choice."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class SwarmView:
    """A moment of a download. `rate`: bytes a second from peers, of `limit` (0: no limit).

    `can_find_peers`: a peer was named, or DHT, LSD or a tracker is in use. `all_offered`: every missing piece is
    offered by a connected peer.
    """

    peers: int
    rate: int
    can_find_peers: bool
    all_offered: bool
    limit: int = 0

    @property
    def slow(self) -> bool:
        """Whether peers give too little."""
        return self.rate < min(SLOW, self.limit // 2 or SLOW)

    @property
    def fast(self) -> bool:
        """Whether peers alone are enough."""
        return self.all_offered and self.rate >= min(FAST, self.limit * 9 // 10 or FAST)


@dataclass(frozen=True, slots=True)
class WebSeedDecision:
    """Whether web seeds are in use, and why; `next` returns the decision at a later time. Times: monotonic seconds."""

    choice: WebSeedUse
    in_use: bool
    reason: str
    changed_at: float
    _lonely_since: float | None = None
    _short_since: float | None = None
    _slow_since: float | None = None
    _fast_since: float | None = None

    @classmethod
    def first(cls, choice: WebSeedUse, now: float) -> Self:
        """Return the decision at the start of a download."""
        reasons = {
            WebSeedUse.AUTO: "peers first",
            WebSeedUse.ALWAYS: "web seeds are always used",
            WebSeedUse.NEVER: "web seeds are never used",
        }
        return cls(choice, choice is WebSeedUse.ALWAYS, reasons[choice], now)

    def next(self, view: SwarmView, now: float) -> Self:
        """Return the decision at the time `now`, not earlier than the last one."""
        if self.choice is not WebSeedUse.AUTO:
            return self
        seen = replace(
            self,
            _lonely_since=_since(self._lonely_since, now, holds=view.peers == 0),
            _short_since=_since(self._short_since, now, holds=not view.all_offered),
            _slow_since=_since(self._slow_since, now, holds=view.slow),
            _fast_since=_since(self._fast_since, now, holds=view.fast),
        )
        if not seen.in_use:
            reason = seen._reason_to_join(view, now)  # noqa: SLF001 - of this class
            return replace(seen, in_use=True, reason=reason, changed_at=now) if reason else seen
        if _lasted(seen._fast_since, now, PATIENT) and now - seen.changed_at >= DWELL:  # noqa: SLF001 - of this class
            return replace(seen, in_use=False, reason="peers have everything and are fast", changed_at=now)
        return seen

    def _reason_to_join(self, view: SwarmView, now: float) -> str | None:
        if not view.can_find_peers and view.peers == 0:
            return "there is no way to find peers"
        if _lasted(self._lonely_since, now, LONELY):
            return "there are no peers"
        if _lasted(self._short_since, now, LONELY):
            return "no peer has all that is missing"
        if _lasted(self._slow_since, now, PATIENT) and now - self.changed_at >= PATIENT:
            return "peers are slow"
        return None


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if before is None else before


def _lasted(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since >= seconds
