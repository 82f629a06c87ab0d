"""When to try uTP: only for peers that TCP does not reach.

If uTP is enabled, libtorrent tries it first, and it is slow on loopback and in a LAN: 6 to 16 MB/s measured, against
200 to 350 over TCP. But hole punching between 2 peers behind NAT needs it. So a session begins with TCP alone. It tries
uTP for a while if a torrent knows peers and none answers, or none gives what is missing. It does so ever more rarely
while that does not help and no new peer is heard of. Existing connections are not affected.
"""

from __future__ import annotations

LONELY_SECONDS = (
    8.0  # seconds a torrent may be lonely; a refused connection fails at once, a silent one in its own time
)
LONELY_SECONDS_OF_ONE = 1.5  # when only one peer is allowed, for a few seconds
TRIAL = 30.0  # seconds with uTP
LONGEST_LONELY_SECONDS = 600.0
LONGEST_OF_A_FETCH = 60.0  # a fetch has no other peers to wait for


class TransportPolicy:
    """Decides whether outgoing uTP is on; asked every second or so."""

    def __init__(self, now: float, timeout: float = LONELY_SECONDS, longest: float = LONGEST_LONELY_SECONDS) -> None:
        self.utp = False
        self._longest = longest
        self._timeout = self._first_timeout = timeout
        self._changed = now
        self._lonely_since: float | None = None

    def decide(self, now: float, *, lonely: bool, news: bool = False) -> bool:
        """Return whether uTP should be on. `lonely`: a torrent knows peers, but none gives; `news`: it knows more."""
        if news:
            self._timeout = self._first_timeout
        if not lonely:
            self._lonely_since = None
        elif self._lonely_since is None:
            self._lonely_since = now
        if self.utp:
            if now - self._changed >= TRIAL:
                self._switch(now, on=False)
                self._timeout = min(2 * self._timeout, self._longest)
        elif self._lonely_since is not None and now - max(self._lonely_since, self._changed) >= self._timeout:
            self._switch(now, on=True)
        return self.utp

    def _switch(self, now: float, *, on: bool) -> None:
        self.utp = on
        self._changed = now
