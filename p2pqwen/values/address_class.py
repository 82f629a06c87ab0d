"""Classify IP addresses: the public internet, this machine, the user's network, or never to be contacted.

All our connections, over HTTP and by libtorrent, are judged here. Sources: the IANA registries of special-purpose
addresses (RFC 6890), and for IPv6 the rule that only 2000::/3 is global unicast (RFC 4291). An IPv6 address that embeds
an IPv4 address has the class of the inner one: mapped and compatible (RFC 4291), translated (RFC 2765), NAT64
(RFC 6052), 6to4 (RFC 3056). The local-use NAT64 prefix 64:ff9b:1::/48 (RFC 8215) is always the user's network, since
its operator chooses the position of the inner address. Teredo (RFC 4380) obscures its inner address and is out of use:
it is never contacted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressClass(StrEnum):
    """Where an address leads. Only `PUBLIC` and `STAND_IN` may be contacted at a third party's word."""

    PUBLIC = "public"
    STAND_IN = "stand-in"  # 198.18.0.0/15 (RFC 2544): proxies resolve public names to it
    LOOPBACK = "loopback"
    PRIVATE = "private"
    NEVER = "not to be asked"  # unspecified, link-local, multicast, reserved, documentation, metadata services


_STAND_IN = ("198.18.0.0/15",)
_LOOPBACK_4, _LOOPBACK_6 = ("127.0.0.0/8",), ("::1/128",)
_PRIVATE_4 = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10",  # RFC 6598, behind a carrier's NAT; some overlay networks
)  # fmt: skip
_PRIVATE_6 = ("fc00::/7", "fec0::/10", "64:ff9b:1::/48")  # RFC 4193, its predecessor, RFC 8215
# Metadata services give out a virtual machine's credentials; most, not all, have link-local addresses.
_NEVER_4 = (
    "0.0.0.0/8",  # this network; the system treats it as this machine
    "169.254.0.0/16",  # link-local, with the metadata service of most clouds
    "192.0.0.0/24", "192.88.99.0/24",  # protocols (RFC 6890), relays of 6to4 (RFC 7526)
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation (RFC 5737)
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "100.100.100.200/32", "168.63.129.16/32",  # metadata services of Alibaba Cloud and Azure
)  # fmt: skip
_NEVER_6 = (
    "fd00:ec2::/32", "fd20:ce::/32",  # metadata services of AWS and Google Cloud
    "2001::/23",  # protocols (RFC 2928): Teredo, benchmarks, ORCHID, anycast
    "2001:db8::/32", "3fff::/20",  # documentation (RFC 3849, RFC 9637)
)  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
# The inner address is the last 4 bytes.
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))


def classify(address: Address | str) -> AddressClass:
    """Classify an address; raises `ValueError` for text that is no address. Zone ids are ignored."""
    ip = ipaddress.ip_address(address.partition("%")[0]) if isinstance(address, str) else address
    for kind, networks in _TABLE:  # `NEVER` comes first: metadata services are inside private networks
        if any(ip in network for network in networks if network.version == ip.version):
            return kind
    if isinstance(ip, ipaddress.IPv6Address):
        if (inner := carried(ip)) is not None:
            return classify(inner)
        return AddressClass.PUBLIC if ip in _GLOBAL_UNICAST else AddressClass.NEVER
    return AddressClass.PUBLIC


def carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address embeds at a known position, or None."""
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(address.packed[2:6])
    if any(address in prefix for prefix in _CARRIERS):
        return ipaddress.IPv4Address(address.packed[12:])
    return None


def networks_of(kind: AddressClass) -> tuple[Network, ...]:
    """Return every network of a class (not `PUBLIC`), including IPv6 networks that embed IPv4, without overlaps.

    For filters that take ranges: an address is in one of them exactly if `classify` says so, except that a metadata
    service inside a private network is in both.
    """
    named = [network for one, networks in _TABLE if one is kind for network in networks]
    found: list[Network] = list(named)
    for network in named:
        if isinstance(network, ipaddress.IPv4Network):
            found += _carrying(network)
    if kind is AddressClass.NEVER:
        found += _outside_global_unicast()
    four = [one for one in found if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in found if isinstance(one, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def _carrying(network: ipaddress.IPv4Network) -> Iterator[ipaddress.IPv6Network]:
    first, length = int(network.network_address), network.prefixlen
    for prefix in _CARRIERS:
        mine = ipaddress.IPv6Network((int(prefix.network_address) | first, 96 + length))
        # ::1 does not embed 0.0.0.1: it is loopback.
        yield from _without(mine, map(ipaddress.IPv6Network, _LOOPBACK_6))
    yield ipaddress.IPv6Network((int(_SIX_TO_FOUR.network_address) | first << 80, 16 + length))


def _outside_global_unicast() -> list[ipaddress.IPv6Network]:
    judged = (*map(ipaddress.IPv6Network, (*_PRIVATE_6, *_LOOPBACK_6)), *_CARRIERS)
    outside = map(ipaddress.IPv6Network, ("::/3", "4000::/2", "8000::/1"))
    return [left for network in outside for left in _without(network, judged)]


def _without(network: ipaddress.IPv6Network, holes: Iterable[ipaddress.IPv6Network]) -> Iterator[ipaddress.IPv6Network]:
    left = [network]
    for hole in holes:
        left = [
            part
            for one in left
            for part in (one.address_exclude(hole) if hole != one and hole.subnet_of(one) else _unless(one, hole))
        ]
    yield from left


def _unless(one: ipaddress.IPv6Network, hole: ipaddress.IPv6Network) -> list[ipaddress.IPv6Network]:
    return [] if one.subnet_of(hole) else [one]


_TABLE: tuple[tuple[AddressClass, tuple[Network, ...]], ...] = tuple(
    (kind, tuple(map(ipaddress.ip_network, networks)))
    for kind, networks in (
        (AddressClass.NEVER, (*_NEVER_4, *_NEVER_6)),
        (AddressClass.LOOPBACK, (*_LOOPBACK_4, *_LOOPBACK_6)),
        (AddressClass.PRIVATE, (*_PRIVATE_4, *_PRIVATE_6)),
        (AddressClass.STAND_IN, _STAND_IN),
    )
)
