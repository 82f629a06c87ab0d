"""How many bytes came from peers and how many from web seeds.

libtorrent counts payload exactly, but not by kind of source, and a connection's counter goes with the connection. So
connections are polled often, and what each added is recorded. The little that came between the last poll and a
connection's end is split in proportion; if only one kind was ever seen, that kind gets it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection as it is now; `received` is payload bytes since it was made."""

    key: Hashable
    web_seed: bool
    received: int


class Ledger:
    """Records payload by kind of source."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] = {}
        self._booked = {False: 0, True: 0}

    def look(self, connections: Iterable[Connection]) -> None:
        """Record what each connection received since the last look."""
        now: dict[Hashable, int] = {}
        for one in connections:
            before = self._last.get(one.key, 0)
            # fewer than before: another connection to the same address
            self._booked[one.web_seed] += one.received - before if one.received >= before else one.received
            now[one.key] = one.received
        self._last = now

    def split(self, payload: int) -> tuple[int, int]:
        """Return how much of `payload` bytes came from peers and how much from web seeds."""
        peers, web = self._booked[False], self._booked[True]
        if peers + web == 0:
            return payload, 0
        from_web = min(payload, web + (payload - peers - web) * web // (peers + web))
        return payload - from_web, from_web
