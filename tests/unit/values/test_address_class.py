"""Where addresses lead, in every spelling that IPv6 has for an address of IPv4."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2pqwen.values.address_class import AddressClass, carried, classify, networks_of

PUBLIC, STAND_IN, LOOPBACK, PRIVATE, NEVER = AddressClass


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", PUBLIC), ("1.1.1.1", PUBLIC), ("172.32.0.1", PUBLIC), ("100.128.0.1", PUBLIC), ("11.0.0.1", PUBLIC),
        ("2606:4700::1111", PUBLIC), ("2a00:1450::1", PUBLIC), ("2001:4860:4860::8888", PUBLIC),
        ("198.18.0.1", STAND_IN), ("198.19.255.255", STAND_IN), ("198.20.0.0", PUBLIC),
        ("127.0.0.1", LOOPBACK), ("127.255.255.255", LOOPBACK), ("::1", LOOPBACK),
        ("10.1.2.3", PRIVATE), ("172.16.0.1", PRIVATE), ("192.168.1.1", PRIVATE), ("100.64.0.1", PRIVATE),
        ("fd12::1", PRIVATE), ("fc00::1", PRIVATE), ("fec0::1", PRIVATE), ("64:ff9b:1::808:808", PRIVATE),
        ("0.0.0.0", NEVER), ("0.1.2.3", NEVER), ("169.254.169.254", NEVER), ("224.0.0.1", NEVER), ("239.1.1.1", NEVER),
        ("240.0.0.1", NEVER), ("255.255.255.255", NEVER), ("192.0.2.1", NEVER), ("198.51.100.1", NEVER),
        ("203.0.113.1", NEVER), ("192.0.0.1", NEVER), ("192.88.99.1", NEVER), ("100.100.100.200", NEVER),
        ("168.63.129.16", NEVER), ("::", NEVER), ("::2", NEVER), ("fe80::1", NEVER), ("fe80::1%eth0", NEVER),
        ("ff02::1", NEVER), ("2001:db8::1", NEVER), ("3fff::1", NEVER), ("100::1", NEVER), ("5f00::1", NEVER),
        ("4000::1", NEVER), ("fd00:ec2::254", NEVER), ("fd20:ce::254", NEVER), ("2001:0:7f00:1::", NEVER),
        ("2001:10::1", NEVER), ("2001:20::1", NEVER), ("2001:2::1", NEVER),
    ],
)  # fmt: skip
def test_where_an_address_leads(address, kind):
    assert classify(address) is kind


def spellings(inner):
    """An IPv4 address in each way IPv6 carries it in the open."""
    number = int(inner)
    return [
        ipaddress.IPv6Address(0xFFFF << 32 | number),  # mapped
        ipaddress.IPv6Address(0xFFFF << 48 | number),  # translated
        ipaddress.IPv6Address(0x64FF9B << 96 | number),  # NAT64
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 7),  # 6to4
    ]


@given(st.ip_addresses(v=4))
@example(ipaddress.IPv4Address("127.0.0.1"))
@example(ipaddress.IPv4Address("0.0.0.1"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_an_address_of_ipv6_is_what_it_carries(inner):
    for one in spellings(inner):
        assert carried(one) == inner
        assert classify(one) is classify(inner)
    compatible = ipaddress.IPv6Address(int(inner))
    assert classify(compatible) is (LOOPBACK if int(inner) == 1 else classify(inner))


def in_networks(kind, address):
    return any(address in one for one in networks_of(kind) if one.version == address.version)


@given(st.one_of(st.ip_addresses(), st.ip_addresses(v=4).flatmap(lambda one: st.sampled_from(spellings(one)))))
@example(ipaddress.ip_address("::1"))
@example(ipaddress.ip_address("::2"))
@example(ipaddress.ip_address("64:ff9b:1::1"))
@example(ipaddress.ip_address("fd00:ec2::254"))
@example(ipaddress.ip_address("::ffff:100.100.100.200"))
def test_ranges_for_filters_say_the_same(address):
    kind = classify(address)
    assert kind is PUBLIC or in_networks(kind, address)
    others = {one for one in AddressClass if one is not PUBLIC and in_networks(one, address)} - {kind}
    assert not others or (kind is NEVER and others == {PRIVATE})  # a metadata service inside a private network


@given(st.ip_addresses())
def test_nothing_is_public_that_the_registry_knows_better(address):
    if classify(address) is PUBLIC and not (isinstance(address, ipaddress.IPv6Address) and carried(address)):
        assert address.is_global
        assert not address.is_multicast


def test_text_that_is_no_address():
    with pytest.raises(ValueError, match="does not appear"):
        classify("localhost")
