"""Which addresses count as the user's own network."""

from __future__ import annotations

import asyncio

import pytest

from p2pqwen.webseed.local_address import PrivateAddressError, PublicResolver, is_private, is_private_host


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.0.0.5", True), ("172.16.9.9", True), ("192.168.1.1", True), ("169.254.169.254", True),
        ("100.64.0.1", True), ("0.0.0.0", True), ("255.255.255.255", True), ("224.0.0.1", True), ("239.1.1.1", True),
        ("::1", True), ("::", True), ("fe80::1%eth0", True), ("fd00::1", True), ("ff02::1", True),
        ("::ffff:127.0.0.1", True), ("::ffff:192.168.0.1", True), ("64:ff9b::7f00:1", True), ("2002:7f00:1::", True),
        ("8.8.8.8", False), ("2600:9000::1", False), ("::ffff:8.8.8.8", False), ("64:ff9b::808:808", False),
    ],
)  # fmt: skip
def test_addresses(address, private):
    assert is_private(address) is private


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("hub.localhost", True), ("127.0.0.1", True), ("::1", True),
        ("localhost.example.com", False), ("hub.example", False), ("8.8.8.8", False),
    ],
)  # fmt: skip
def test_hosts_by_their_text(host, private):
    assert is_private_host(host) is private


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f.1"])
def test_names_that_lead_to_loopback_are_refused_when_resolved(name):
    async def resolve():
        resolver = PublicResolver()
        try:
            await resolver.resolve(name, 80)
        finally:
            await resolver.close()

    with pytest.raises(PrivateAddressError, match=r"private address 127\.0\.0\.1"):
        asyncio.run(resolve())
