"""The filter as libtorrent applies it: what is blocked, and what an IPv6 address hides."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.swarm.address_filter import address_filter, blocked_ranges
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.network_choices import NetworkChoices

STRICT = SwarmSettings(lan=False)
OPEN = SwarmSettings(loopback=True, lan=True)
NAS = NamedHosts.of(["http://10.0.0.1:8080/"])


def passes(settings, address, banned=()):
    return address_filter(settings, banned).access(address) == 0


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "169.254.169.254", "192.0.0.192", "192.0.2.1", "224.0.0.1", "255.255.255.255", "100.100.100.200",
        "168.63.129.16", "::", "fe80::1", "ff02::1", "2001:db8::1", "2001:0:1234::1", "fd00:ec2::254", "fd20:ce::254",
        "::2", "64:ff9b::1", "5f00::1", "3fff::1",
    ],
)  # fmt: skip
def test_some_addresses_are_never_spoken_to(address):
    assert not passes(OPEN, address)


@pytest.mark.parametrize(
    ("address", "strict"),
    [
        ("127.0.0.1", False), ("127.255.255.255", False), ("::1", False), ("10.1.2.3", False), ("172.31.0.1", False),
        ("192.168.1.1", False), ("100.64.0.1", False), ("fd12::1", False), ("fec0::1", False),
        ("8.8.8.8", True), ("172.32.0.1", True), ("198.18.0.5", True), ("2606:4700::1111", True),
    ],
)  # fmt: skip
def test_private_addresses_pass_where_they_are_allowed(address, strict):
    assert passes(OPEN, address)
    assert passes(STRICT, address) is strict


def hidden(inner):
    """An IPv4 address in each way IPv6 can carry it."""
    number = int(ipaddress.IPv4Address(inner))
    return [f"::ffff:{inner}", f"64:ff9b::{inner}", str(ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 7))]


@given(st.one_of(st.ip_addresses(v=4), st.sampled_from(["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8"])))
def test_an_address_inside_another_is_judged_by_the_inner_one(address):
    for settings in (STRICT, OPEN):
        assert {passes(settings, one) for one in hidden(str(address))} == {passes(settings, str(address))}


def test_addresses_can_be_banned_one_by_one():
    assert not passes(OPEN, "8.8.8.8", banned=["8.8.8.8"])
    assert passes(OPEN, "8.8.8.9", banned=["8.8.8.8"])


def test_ranges_are_in_order_and_of_one_family():
    for first, last in blocked_ranges(STRICT):
        assert ipaddress.ip_address(first) <= ipaddress.ip_address(last)


@pytest.mark.parametrize(
    ("settings", "lan"),
    [
        (SwarmSettings(), True),
        (SwarmSettings(choices=NetworkChoices(lsd=False)), False),  # accepts nobody and looks for nobody there
        (SwarmSettings(lan=False), False),
        (SwarmSettings(listen=Endpoint("0.0.0.0", 6881), choices=NetworkChoices(lsd=False)), True),
        (SwarmSettings(lan=False, listen=Endpoint("0.0.0.0", 6881)), False),
        (SwarmSettings(lan=False, listen=Endpoint("192.168.1.5", 6881)), True),
        (SwarmSettings(lan=False, listen=Endpoint("127.0.0.1", 6881)), False),
        (SwarmSettings(lan=False).with_room_for([Endpoint("192.168.1.5", 6881)]), True),
        (SwarmSettings(lan=False).with_room_for([Endpoint("nas.local", 6881)]), True),
        (SwarmSettings(lan=False, named=NAS).with_room_for([], urls=["http://10.0.0.1/announce"]), True),
        (SwarmSettings(lan=False, named=NAS).with_room_for([], urls=["http://10.0.0.2/announce"]), False),
        (SwarmSettings(lan=False).with_room_for([], urls=["http://10.0.0.1/announce"]), False),
        (SwarmSettings(lan=False).with_room_for([Endpoint("8.8.8.8", 1)], urls=["http://localhost/"]), False),
    ],
)
def test_when_private_networks_are_allowed(settings, lan):
    assert passes(settings, "192.168.7.7") is lan
