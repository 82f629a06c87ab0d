"""What of a stranger's link is used, and where names lead."""

from __future__ import annotations

import socket

import pytest

from p2pqwen.swarm import untrusted_links
from p2pqwen.swarm.untrusted_links import inside, tracker_problem


@pytest.mark.parametrize(
    "url",
    [
        "udp://tracker.example.org:6969",
        "udp://tracker.example.org:6969/announce",
        "http://tracker.example.org/announce",
        "https://tracker.example.org:443/x/announce",
        "http://8.8.8.8/announce",
    ],
)
def test_plain_public_trackers_are_used(url):
    assert tracker_problem(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:6969/announce", "this machine"),
        ("udp://127.0.0.1:53", "this machine"),
        ("http://localhost/announce", "this machine"),
        ("http://[::1]/announce", "this machine"),
        ("http://192.168.1.1/announce", "this machine"),
        ("http://[::ffff:10.0.0.1]/announce", "this machine"),
        ("http://169.254.169.254/announce", "this machine"),
        ("http://router/announce", "this machine"),
        ("udp://nas.local:6969", "this machine"),
        ("http://tracker.example.org/apply?reboot=1", "/announce"),
        ("http://tracker.example.org/announce?reboot=1", "/announce"),
        ("http://tracker.example.org/cgi-bin/reboot", "/announce"),
        ("http://tracker.example.org/announce#x", "/announce"),
        ("wss://tracker.example.org/announce", "only UDP and HTTP"),
    ],
)
def test_others_are_not(url, reason):
    assert reason in tracker_problem(url)


@pytest.fixture
def names(monkeypatch):
    """A name server of the test's own: name to addresses."""
    known = {}

    def look_up(host, *_args, **_more):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(untrusted_links.socket, "getaddrinfo", look_up)
    return known


def test_a_name_is_judged_by_every_address_it_has(names):
    names |= {
        "good.example": ["8.8.8.8", "2606:4700::1111"],
        "router.example": ["192.168.1.1"],
        "mixed.example": ["8.8.8.8", "127.0.0.1"],
        "mapped.example": ["::ffff:169.254.169.254"],
        "proxied.example": ["198.18.0.7"],
        "none.example": [],
    }
    hosts = [*names, "unknown.example"]
    public = {"good.example", "proxied.example"}
    assert inside(hosts) == set(hosts) - public


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch):
    import threading

    release = threading.Event()
    monkeypatch.setattr(untrusted_links.socket, "getaddrinfo", lambda *_args, **_more: release.wait(30) and [])
    assert inside(["slow.example"], seconds=0.05) == {"slow.example"}
    release.set()


def test_nothing_to_look_up():
    assert inside([]) == frozenset()
