"""Which addresses a session may speak to at all: peers, web seeds and trackers alike.

Peers name other peers (PEX, trackers, the DHT), and every name is a connection from inside the user's network. So what
only means something there is blocked unless the settings say otherwise, by the classes that HTTP is judged by as well:
see `values.address_class`. What proxies answer in place of public addresses is not blocked.
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
    """Return libtorrent's filter for a session: without the addresses `banned`, and with `only` for no others."""
    found = lt.ip_filter()
    if only:
        for first, last in _ranges(_ALL):
            found.add_rule(first, last, _BLOCKED)
        for one in only:
            found.add_rule(one, one, 0)
    for first, last in (*blocked_ranges(settings), *((one, one) for one in banned)):
        found.add_rule(first, last, _BLOCKED)
    if settings.proxy is not None:
        # [measured] libtorrent 2.1.1 looks up no web seed where a proxy does, and judges each by this address, our
        # relay as well. As a peer's it leads nowhere: the gateway refuses it.
        found.add_rule(_NOT_LOOKED_UP, _NOT_LOOKED_UP, 0)
    return found


@cache
def _of_class(kind: AddressClass) -> tuple[tuple[str, str], ...]:
    return tuple(_ranges(networks_of(kind)))


def _ranges(networks: Iterable[Network]) -> Iterator[tuple[str, str]]:
    for network in networks:
        yield str(network[0]), str(network[-1])
