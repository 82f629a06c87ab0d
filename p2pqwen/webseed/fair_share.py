"""Which reader makes room when more ask than there are places: each address gets an equal share, whatever it opens.

An address is an IPv4 address or an IPv6 /64, which is what one line has (RFC 6177). IPv4 in IPv6 counts as IPv4.

1. A free place goes to the address with the fewest. Of several, it goes to the one whose last place was given out
   longest ago, so that opening more connections does not help.
2. While an address with fewer places waits, a reader slower than `slowest` leaves. Otherwise slow readers are welcome.
3. An address with at least 2 places more than one that has waited for `grace` gives one up, its longest held.
4. A reader that was served for a `turn` leaves for an address that has fewer places and has waited for a `turn`. So no
   address waits for ever, even behind a thousand fast readers.

To leave means that the connection is cut; every client can resume. Time and byte counts are passed in as arguments.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class FairRule:
    """Times in seconds, the rate in bytes a second. Reading is judged over `measured`."""

    slowest: int = 16 * 1024
    measured: float = 5.0
    grace: float = 2.0
    turn: float = 60.0


def address_group(host: str) -> str:
    """Return the key for shares: the IPv4 address, or the IPv6 /64; other text unchanged."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return str(address)


@dataclass(slots=True)
class _Held:
    group: str
    since: float
    window_from: float
    window_taken: int = 0
    slow: bool = False


class Shares(Generic[Key]):
    """The places held now, and which holder leaves for another. `now` is any clock that only goes forward."""

    def __init__(self, rule: FairRule) -> None:
        self._rule = rule
        self._held: dict[Key, _Held] = {}
        self._leaving: set[Key] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def leaving(self) -> int:
        """How many were told to leave and are not gone yet."""
        return len(self._leaving)

    def hold(self, key: Key, group: str, now: float) -> None:
        """Give a place to a reader of this group."""
        self._held[key] = _Held(group, now, now)

    def release(self, key: Key) -> None:
        """Take back a place, if `key` has one."""
        self._held.pop(key, None)
        self._leaving.discard(key)

    def count(self, group: str) -> int:
        """Return how many places a group holds, without those told to leave."""
        return sum(one.group == group for key, one in self._held.items() if key not in self._leaving)

    def observe(self, key: Key, *, taken: int, owed: int, now: float) -> None:
        """Record the bytes that a holder has taken in all, and those that are sent but not taken.

        A holder that has taken everything keeps up: it waits for our disk, or for our own limit.
        """
        one = self._held[key]
        if owed == 0 or taken < one.window_taken:  # the latter: a new body has begun
            one.slow, one.window_from, one.window_taken = False, now, taken
        elif now - one.window_from >= self._rule.measured:
            one.slow = taken - one.window_taken < self._rule.slowest * (now - one.window_from)
            one.window_from, one.window_taken = now, taken

    def begin(self, key: Key, now: float) -> None:
        """Start to measure a holder again: until now it had no request."""
        one = self._held[key]
        one.slow, one.window_from, one.window_taken = False, now, 0

    def cut(self, group: str, *, waited: float, now: float) -> Key | None:
        """Return which holder leaves for a reader of `group` that has waited `waited` seconds; None if none does.

        The returned holder counts as gone from now on.
        """
        holds = Counter(one.group for key, one in self._held.items() if key not in self._leaving)
        mine = holds[group]
        best: tuple[tuple[int, int, float], Key] | None = None
        for key, one in self._held.items():
            rule = self._reason(one, mine, holds[one.group], waited, now)
            if one.group == group or key in self._leaving or rule is None:
                continue
            rank = (rule, -holds[one.group], one.since)
            if best is None or rank < best[0]:
                best = rank, key
        if best is None:
            return None
        self._leaving.add(best[1])
        return best[1]

    def _reason(self, one: _Held, mine: int, theirs: int, waited: float, now: float) -> int | None:
        """Return the number of the rule by which a holder leaves, None if it may stay."""
        if theirs <= mine:
            return None
        if one.slow:
            return 2
        if theirs > mine + 1 and waited >= self._rule.grace:
            return 3
        return 4 if waited >= self._rule.turn and now - one.since >= self._rule.turn else None
