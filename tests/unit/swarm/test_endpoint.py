"""`HOST:PORT` and the addresses a link from a stranger may not lead to."""

from __future__ import annotations

import pytest

from p2pqwen.errors import NetworkError, UsageError
from p2pqwen.swarm.endpoint import Endpoint, is_private


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:6881", "127.0.0.1", 6881),
        ("seed.example.org:1", "seed.example.org", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        (" localhost:80 ", "localhost", 80),
    ],
)
def test_an_endpoint_is_read_and_printed(text, host, port):
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert str(endpoint) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":80", "host", "host:", "host:0", "host:65536", "host:-1", "host:8o", "host:\u0661", "a b:80",
        "::1:80", "[host]:80", "[::1:80", "user@host:80", "http://host:80", "host:80/x", "-host:80",
        "a..b:80", "a" * 64 + ".example:80", "a.example." + "b" * 64 + ":80",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match="not an address"):
        Endpoint.parse(text)


def test_port_zero_only_to_listen():
    assert Endpoint.parse("127.0.0.1:0", allow_port_zero=True).port == 0


def test_a_name_is_resolved_and_one_without_address_is_an_error(monkeypatch):
    assert Endpoint("localhost", 5).resolve() == Endpoint("127.0.0.1", 5)
    with pytest.raises(NetworkError, match="cannot find the address"):
        Endpoint("no-such-host.invalid", 5).resolve()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "192.168.1.1", "172.31.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "::", "fe80::1", "fd00::1", "224.0.0.1", "ff02::1", "::ffff:192.168.1.1", "localhost", "router",
        "router.local", "x.localhost", "nas.home.arpa", "metadata.internal", "LOCALHOST", "printer.lan.",
    ],
)  # fmt: skip
def test_private_hosts(host):
    assert is_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "huggingface.co", "::ffff:8.8.8.8", "example.org."])
def test_public_hosts(host):
    assert not is_private(host)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "a\0b"])
def test_a_host_that_no_resolver_takes_has_no_address(host):
    with pytest.raises(NetworkError):
        Endpoint(host, 80).resolve()
