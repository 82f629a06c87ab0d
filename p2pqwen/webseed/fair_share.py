"""Who makes room when more ask than there are places: shares are equal for each address, whatever it opens.

An address is an IPv4 address or an IPv6 /64, which is what one line has (RFC 6177); one that is IPv4 in IPv6 is IPv4.

1. A place that is free goes to the address that holds the fewest; of those to the one whose last place is the longest
   ago, so that opening more connections is no way to come sooner.
2. While an address waits that holds fewer, who reads slower than `slowest` leaves. Slow readers are welcome otherwise.
3. An address with two places more than one that has waited for `grace` gives one up, the one held the longest.
4. Who was served for a `turn` leaves for an address that holds fewer and has waited for one. So nobody waits for ever,
   not behind a thousand quick readers either.

Leaving is a connection that is cut: every client goes on from there. Time and the bytes taken come in as arguments.
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
    """Return what shares are counted by: the IPv4 address, or the IPv6 /64; text that is no address as it is."""
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
    """Who holds places now, and who leaves when others want one. `now` is any clock that only goes forward."""

    def __init__(self, rule: FairRule) -> None:
        self._rule = rule
        self._held: dict[Key, _Held] = {}
        self._leaving: set[Key] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def leaving(self) -> int:
        """How many were told to leave and have not gone yet."""
        return len(self._leaving)

    def hold(self, key: Key, group: str, now: float) -> None:
        """Give a place to somebody of this group."""
        self._held[key] = _Held(group, now, now)

    def release(self, key: Key) -> None:
        """Take a place back; of who holds none it is nothing."""
        self._held.pop(key, None)
        self._leaving.discard(key)

    def count(self, group: str) -> int:
        """Return how many places a group holds and keeps."""
        return sum(one.group == group for key, one in self._held.items() if key not in self._leaving)

    def observe(self, key: Key, *, taken: int, owed: int, now: float) -> None:
        """Note what a holder has taken in all, and what is sent and not taken yet.

        Who has taken everything keeps up: what it waits for is our disk, or our own limit.
        """
        one = self._held[key]
        if owed == 0 or taken < one.window_taken:  # the latter: it is another body than before
            one.slow, one.window_from, one.window_taken = False, now, taken
        elif now - one.window_from >= self._rule.measured:
            one.slow = taken - one.window_taken < self._rule.slowest * (now - one.window_from)
            one.window_from, one.window_taken = now, taken

    def begin(self, key: Key, now: float) -> None:
        """Judge a holder anew: until now it asked for nothing."""
        one = self._held[key]
        one.slow, one.window_from, one.window_taken = False, now, 0

    def cut(self, group: str, *, waited: float, now: float) -> Key | None:
        """Return who leaves so that somebody of `group`, who has waited for so long, gets a place; None for nobody.

        Who is returned counts as gone from now on.
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
        """Return the number of the rule by which a holder leaves, None where it may stay."""
        if theirs <= mine:
            return None
        if one.slow:
            return 2
        if theirs > mine + 1 and waited >= self._rule.grace:
            return 3
        return 4 if waited >= self._rule.turn and now - one.since >= self._rule.turn else None
