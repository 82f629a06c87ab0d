"""Count what a fetch transferred by its events: every byte once, whichever event was last and however often it began.

`Progress` events carry the counters of a session every quarter of a second, and not at its end. What came after the
last one is known from the result, which says how much the fetch downloaded.
"""

from __future__ import annotations

from p2pqwen.events import Event, Progress
from p2pqwen.operations.node.preferences import Transfer


class TransferMeter:
    """Adds up the tries of one fetch. Payload bytes; not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._last = Transfer()  # the session's counters as last seen
        self._try = Transfer()
        self._untaken = Transfer()

    def begin(self) -> None:
        """Expect the counters of a new session, which begin at 0."""
        self._last = self._try = Transfer()

    def see(self, event: Event) -> None:
        """Take the counters of an event that has some."""
        if not isinstance(event, Progress) or "received" not in event.facts:
            return
        now = Transfer(event.facts.get("uploaded", 0), event.facts["received"])
        self._add(gone_on(now.uploaded, self._last.uploaded), gone_on(now.downloaded, self._last.downloaded))
        self._last = now

    def end(self, came: int) -> None:
        """Add what came after the last counters of this try: the result says that it was `came` bytes in all."""
        self._add(0, max(0, came - self._try.downloaded))

    @property
    def moved(self) -> Transfer:
        """What was added since the last `take`."""
        return self._untaken

    def take(self) -> Transfer:
        """Return what was added since the last call."""
        taken, self._untaken = self._untaken, Transfer()
        return taken

    def _add(self, up: int, down: int) -> None:
        self._try = self._try.plus(up, down)
        self._untaken = self._untaken.plus(up, down)


def gone_on(now: int, before: int) -> int:
    """Return how far a counter has advanced; one that fell began again at 0, as when a torrent is reloaded."""
    return now - before if now >= before else now
