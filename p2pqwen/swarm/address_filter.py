"""Which addresses a session may speak to at all: peers, web seeds and trackers alike.

Peers name other peers (PEX, trackers, the DHT), and every name is a connection from inside the user's network. So what
only means something there is blocked unless the settings say otherwise. An IPv6 address that carries an IPv4 address
inside is judged by the inner one (RFC 4291 mapped, RFC 6052 NAT64, RFC 3056 6to4).

198.18.0.0/15 (RFC 2544) is not blocked: proxies answer name lookups with addresses from there ("fake IP"), and what
they stand for is a public name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator

import libtorrent as lt

from p2pqwen.swarm.settings import SwarmSettings

_BLOCKED = 1
# Never a peer. Metadata services hand out a virtual machine's credentials; most have link-local addresses, these not.
_NEVER = (
    "0.0.0.0/8",  # this network
    "169.254.0.0/16",  # link-local, with the metadata service of most clouds
    "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # protocols, documentation (RFC 5737)
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "100.100.100.200/32", "168.63.129.16/32",  # metadata services of Alibaba Cloud and Azure
    "::/128", "fe80::/10", "ff00::/8", "100::/64", "2001:db8::/32",  # RFC 4291, discard-only, documentation
    "2001::/32",  # Teredo: an IPv4 address inside, hidden; nobody runs it any more
    "fd00:ec2::/32", "fd20:ce::/32",  # metadata services of AWS and Google Cloud
)  # fmt: skip
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_PRIVATE = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10",  # RFC 6598, behind a carrier's NAT; some overlay networks
    "fc00::/7", "fec0::/10",  # RFC 4193 and what came before it
)  # fmt: skip
_MAPPED, _NAT64, _SIX_TO_FOUR = 0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112


def blocked_ranges(settings: SwarmSettings) -> tuple[tuple[str, str], ...]:
    """Return the first and last address of each range the session must not touch."""
    blocked = (
        *_NEVER,
        *(() if settings.allows_loopback else _LOOPBACK),
        *(() if settings.allows_lan else _PRIVATE),
    )
    return tuple(_ranges(blocked))


def address_filter(settings: SwarmSettings, banned: Iterable[str] = (), *, only: Collection[str] = ()) -> lt.ip_filter:
    """Return libtorrent's filter for a session: without the addresses `banned`, and with `only` for no others."""
    found = lt.ip_filter()
    if only:
        for first, last in _ranges(("0.0.0.0/0", "::/0")):
            found.add_rule(first, last, _BLOCKED)
        for one in only:
            found.add_rule(one, one, 0)
    for first, last in (*blocked_ranges(settings), *((one, one) for one in banned)):
        found.add_rule(first, last, _BLOCKED)
    return found


def _ranges(networks: Iterable[str]) -> Iterator[tuple[str, str]]:
    for network in map(ipaddress.ip_network, networks):
        yield str(network[0]), str(network[-1])
        if isinstance(network, ipaddress.IPv4Network):
            first, last = int(network[0]), int(network[-1])
            for prefix in (_MAPPED, _NAT64):
                yield _six(prefix | first), _six(prefix | last)
            yield _six(_SIX_TO_FOUR | first << 80), _six(_SIX_TO_FOUR | (last + 1 << 80) - 1)


def _six(number: int) -> str:
    return str(ipaddress.IPv6Address(number))
