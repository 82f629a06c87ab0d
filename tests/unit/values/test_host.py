"""Hosts in every spelling, read as a resolver would read them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.values.host import Host, is_private_host, is_private_url


@pytest.mark.parametrize(
    ("text", "name", "disguised"),
    [
        ("example.org", "example.org", False), ("EXAMPLE.org.", "example.org", False),
        ("a_b.example", "a_b.example", False), ("b\u00fccher.example", "xn--bcher-kva.example", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", False),
        ("127.0.0.1", "127.0.0.1", False), ("8.8.8.8", "8.8.8.8", False), ("[::1]", "::1", False),
        ("::1", "::1", False), ("[2606:4700:0:0::1111]", "2606:4700::1111", False), ("fe80::1%eth0", "fe80::1", False),
        ("127.1", "127.0.0.1", True), ("127.0.1", "127.0.0.1", True), ("2130706433", "127.0.0.1", True),
        ("0x7f000001", "127.0.0.1", True), ("0X7F.1", "127.0.0.1", True), ("0177.0.0.1", "127.0.0.1", True),
        ("017700000001", "127.0.0.1", True), ("127.0.0.1.", "127.0.0.1", True), ("0", "0.0.0.0", True),
        ("0x", "0.0.0.0", True), ("8.8.2056", "8.8.8.8", True), ("\uff11\uff12\uff17.0.0.1", "127.0.0.1", True),
        ("127\u30020\u30020\u30021", "127.0.0.1", True),
        ("\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "localhost", True),
    ],
)  # fmt: skip
def test_a_host_and_whether_it_hides_something(text, name, disguised):
    host = Host.parse(text)
    assert (host.name, host.disguised) == (name, disguised)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", "-a.example", "a b", "a/b", "a@b", "a\\b", "%31%32%37.0.0.1", "127.0.0.1%00",
     "a\tb", "a\x00b", "256.0.0.1", "1.2.3.4.5", "127.0.0.256", "4294967296", "09.0.0.1", "example.1", "example.0x1",
     "[::1", "::1::", "[1.2.3.4]:", "a" * 254, "\udc80.example", "a" * 64 + ".example",
     "a.example." + "b" * 64],
)  # fmt: skip
def test_what_is_no_host(text):
    with pytest.raises(FormatError):
        Host.parse(text)


@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=4), st.sampled_from(["{}", "0{:o}", "0x{:x}"]))
def test_numbers_mean_what_the_system_takes_them_for(numbers, form):
    text = ".".join(form.format(one) for one in numbers)
    try:
        expected = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        with pytest.raises(FormatError):
            Host.parse(text)
    else:
        assert Host.parse(text).name == expected


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("hub.localhost", True), ("127.0.0.1", True), ("[::1]", True),
        ("router", True), ("nas.lan", True), ("NAS.LOCAL", True), ("x.home.arpa", True),
        ("metadata.google.internal", True), ("a.corp", True), ("b.localdomain", True), ("198.18.0.1", True),
        ("169.254.169.254", True),
        ("127.1", True), ("0x08080808", True), ("a b", True), ("", True),
        ("localhost.example.com", False), ("hub.example", False), ("8.8.8.8", False), ("local.example.org", False),
        ("[2606:4700:4700::1111]", False),
    ],
)  # fmt: skip
def test_private_by_its_text(host, private):
    assert is_private_host(host) is private
    assert is_private_url(f"http://{host}/x") is private


def test_loopback_is_one_host():
    assert len({Host.parse(text).key for text in ("localhost", "127.0.0.1", "::1", "127.1")}) == 1
    assert Host.parse("127.0.0.2").key != Host.parse("127.0.0.1").key
