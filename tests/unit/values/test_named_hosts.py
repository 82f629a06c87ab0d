"""The rules of `named_hosts`: what the user named, and what nobody else can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.values.host import Host
from p2pqwen.values.named_hosts import NONE_NAMED, Guard, NamedHosts, RefusedAddressError

NAS = NamedHosts.of(["http://nas.lan:8080/keep/", "http://192.168.1.5/"])
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "https://8.8.8.8:8443/x?y", "http://[2606:4700::1111]/", "http://nas.lan/", "http://NAS.lan:1/x",
     "https://192.168.1.5:9/"],
)  # fmt: skip
def test_urls_that_may_be_asked(url):
    assert Guard(NAS).check_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://192.168.1.6/", "http://nas2.lan/", "http://x.nas.lan/", "http://[::1]:80/", "http://127.1/",
     "http://[::ffff:192.168.1.6]/", "http://[64:ff9b::c0a8:105]/", "http://0300.0250.1.5/", "http://3232235781/",
     "ftp://example.org/", "file:///etc/passwd", "//example.org/", "http://", "http:///x", "http://example.org:0/",
     "http://example.org:99999/", "http://example.org:x/", "http://me@example.org/", "http://me:pw@example.org/",
     "http://example.org\\@127.0.0.1/", "http://127.0.0.1\\.example.org/", "http://%31%32%37.0.0.1/", "", "x"],
)  # fmt: skip
def test_urls_that_may_not(url):
    with pytest.raises(RefusedAddressError):
        Guard(NAS).check_url(url)


@pytest.mark.parametrize(
    ("host", "addresses", "allowed"),
    [
        ("example.org", ["8.8.8.8", "2606:4700::1111"], ["8.8.8.8", "2606:4700::1111"]),
        ("example.org", ["8.8.8.8", "127.0.0.1", "::ffff:10.0.0.1"], ["8.8.8.8"]),
        ("example.org", ["198.18.0.7"], ["198.18.0.7"]),  # a proxy's stand-in
        ("example.org", ["192.168.1.5"], []),  # an address was named, and this name was not
        ("nas.lan", ["192.168.1.5", "fe80::1%2"], ["192.168.1.5", "fe80::1%2"]),
        ("192.168.1.5", ["192.168.1.5"], ["192.168.1.5"]),
        ("198.18.0.7", ["198.18.0.7"], []),
        ("example.org", [], []),
    ],
)
def test_a_host_is_judged_by_the_addresses_it_leads_to(host, addresses, allowed):
    guard = Guard(NAS)
    if allowed:
        assert guard.check_addresses(Host.parse(host), addresses) == tuple(allowed)
    else:
        with pytest.raises(RefusedAddressError):
            guard.check_addresses(Host.parse(host), addresses)


def test_only_web_addresses_name_hosts():
    words = [
        "Qwen/Tiny",
        "/nas.lan/x",
        "nas.lan:80",
        "magnet:?xt=urn:btih:00&xs=http://127.0.0.1/",
        "udp://10.0.0.1:80",
        "",
    ]
    assert NamedHosts.of(words) == NONE_NAMED
    assert NamedHosts.of(["HTTP://Nas.LAN:80/{repo}/", "http://example.org/"]) == NamedHosts.listed(["nas.lan"])
    assert NamedHosts.configured(["https://hub.example.org/"]) == NamedHosts.listed(["hub.example.org"])
    with pytest.raises(FormatError):
        NamedHosts.listed(["a host"])


def test_a_proxy_is_connected_to_and_not_asked():
    guard = Guard(proxies=NamedHosts.of(["http://127.0.0.1:3128"]))
    assert guard.check_addresses(guard.check_host("127.0.0.1"), ["127.0.0.1"]) == ("127.0.0.1",)
    with pytest.raises(RefusedAddressError):
        guard.check_url("http://127.0.0.1:3128/")


@pytest.mark.parametrize(
    "code",
    [
        "import aiohttp\n\nsession = aiohttp.ClientSession()\n",
        "from aiohttp import ClientSession\n",
        "from aiohttp.resolver import ThreadedResolver\n",
        "import httpx2\n\nclient = httpx2.Client()\n",
        "import httpx2\n\nhttpx2.get('http://example.org')\n",
        "import urllib3\n\npool = urllib3.PoolManager()\n",
        "import urllib.request\n",
        "from urllib.request import urlopen\n",
        "import http.client\n",
        "import requests\n",
        "import socket\n\nsocket.create_connection(('example.org', 80))\n",
    ],
)
def test_a_connection_that_is_opened_elsewhere_is_found_by_ruff(code):
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "p2pqwen/operations/x.py",
        "-",
    ]
    done = subprocess.run(command, check=False, input=code, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TID251" in done.stdout


def test_each_stack_is_made_in_one_place():
    """What ruff cannot see: that the bare classes stand in `net` alone, and that each of its clients takes a guard."""
    bare = (
        "ClientSession(",
        "TCPConnector(",
        "PoolManager(",
        "HTTPTransport(",
        "httpx2.Client(",
        "default_urllib3_manager(",
        "default_client_factory",
    )
    found = {
        (path.relative_to(ROOT).as_posix(), word)
        for path in (ROOT / "p2pqwen").rglob("*.py")
        for word in bare
        if word in path.read_text()
    }
    assert {one for one in found if not one[0].startswith("p2pqwen/net/")} == set()
