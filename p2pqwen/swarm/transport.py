"""When to try uTP: only for peers that TCP does not reach.

libtorrent tries uTP first wherever it is switched on, and uTP crawls on loopback and in a LAN (6 to 16 MB/s measured,
against 200 to 350 over TCP). But hole punching between two peers behind NAT needs it. So a session begins with TCP
alone and tries uTP for a while when a torrent knows peers and none of them answers, or none gives what is missing, ever
more rarely while that does not help and nobody new is heard of. Connections that stand are not touched by a change.
"""

from __future__ import annotations

LONELY_SECONDS = (
    8.0  # seconds a torrent may be lonely; a refused connection fails at once, a silent one in its own time
)
LONELY_SECONDS_OF_ONE = 1.5  # where only one peer may be spoken to, for a few seconds
TRIAL = 30.0  # seconds that uTP then has
LONGEST_LONELY_SECONDS = 600.0
LONGEST_OF_A_FETCH = 60.0  # which has nobody else


class TransportPolicy:
    """Decides whether outgoing uTP is on; asked every second or so."""

    def __init__(self, now: float, timeout: float = LONELY_SECONDS, longest: float = LONGEST_LONELY_SECONDS) -> None:
        self.utp = False
        self._longest = longest
        self._timeout = self._first_timeout = timeout
        self._changed = now
        self._lonely_since: float | None = None

    def decide(self, now: float, *, lonely: bool, news: bool = False) -> bool:
        """Return whether uTP should be on. `lonely`: some torrent knows peers, and none gives; `news`: now more."""
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
