"""Which addresses a session may connect to at all: peers, web seeds and trackers alike.

Peers name other peers (PEX, trackers, the DHT), and each name causes a connection from inside the user's network. So
addresses that only mean something there are blocked unless the settings allow them. The classes are those that HTTP is
judged by too: see `values.address_class`. Addresses that proxies return in place of public ones are not blocked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from functools import cache

import libtorrent as lt

from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.values.address_class import AddressClass, Network, networks_of

_BLOCKED = 1
_NOT_LOOKED_UP = "0.0.0.0"  # noqa: S104 - compared, not listened on
_ALL = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def blocked_ranges(settings: SwarmSettings) -> tuple[tuple[str, str], ...]:
    """Return the first and last address of each range the session must not touch."""
    return (
        *_of_class(AddressClass.NEVER),
        *(() if settings.allows_loopback else _of_class(AddressClass.LOOPBACK)),
        *(() if settings.allows_lan else _of_class(AddressClass.PRIVATE)),
    )


def address_filter(settings: SwarmSettings, banned: Iterable[str] = (), *, only: Collection[str] = ()) -> lt.ip_filter:
    """Return libtorrent's filter for a session: without the addresses `banned`; if `only` is not empty, just those."""
    found = lt.ip_filter()
    if only:
        for first, last in _ranges(_ALL):
            found.add_rule(first, last, _BLOCKED)
        for one in only:
            found.add_rule(one, one, 0)
    for first, last in (*blocked_ranges(settings), *((one, one) for one in banned)):
        found.add_rule(first, last, _BLOCKED)
    if settings.proxy is not None:
        # libtorrent 2.1.1 does not look up a web seed if a proxy does, and then judges each, our relay included, by
        # this address (as measured). As a peer's address it leads nowhere: the gateway refuses it.
        found.add_rule(_NOT_LOOKED_UP, _NOT_LOOKED_UP, 0)
    return found


@cache
def _of_class(kind: AddressClass) -> tuple[tuple[str, str], ...]:
    return tuple(_ranges(networks_of(kind)))


def _ranges(networks: Iterable[Network]) -> Iterator[tuple[str, str]]:
    for network in networks:
        yield str(network[0]), str(network[-1])
