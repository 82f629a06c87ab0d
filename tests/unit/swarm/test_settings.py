"""What a session opens and whom it may speak to follows from its settings alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from p2pqwen.swarm.address_filter import blocked_ranges
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings, settings_pack
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.proxy import Proxy
from tests.support.addresses import LOOPBACK
from tests.support.swarm import SWITCHED_OFF

OFF = SwarmSettings(choices=SWITCHED_OFF)


def test_a_fetch_that_looks_for_nobody_stays_on_loopback():
    assert settings_pack(OFF)["listen_interfaces"] == "127.0.0.1:0"
    assert settings_pack(OFF)["enable_incoming_tcp"] is False


@pytest.mark.parametrize("way", ["dht", "lsd", "trackers"])
def test_a_fetch_that_looks_for_peers_has_sockets_but_accepts_nobody(way):
    pack = settings_pack(replace(OFF, choices=replace(SWITCHED_OFF, **{way: True})))
    assert pack["listen_interfaces"] == "0.0.0.0:0,[::]:0"
    assert pack["enable_incoming_tcp"] is False
    assert pack["enable_upnp"] is False


def test_a_seed_listens_where_it_is_told_to_and_nowhere_else():
    pack = settings_pack(SwarmSettings(listen=Endpoint("192.0.2.7", 6881)))
    assert pack["listen_interfaces"] == "192.0.2.7:6881"
    assert pack["listen_system_port_fallback"] is False
    assert pack["max_retry_port_bind"] == 0


@pytest.mark.parametrize(
    ("field", "setting"),
    [("dht", "enable_dht"), ("lsd", "enable_lsd"), ("upnp", "enable_upnp"), ("upnp", "enable_natpmp")],
)
def test_each_way_of_finding_peers_has_its_switch(field, setting):
    listening = SwarmSettings(listen=Endpoint("127.0.0.1", 0))
    assert settings_pack(listening)[setting] is True
    assert settings_pack(replace(listening, choices=listening.choices.without(field)))[setting] is False


def test_settings_that_safety_rests_on():
    pack = settings_pack(SwarmSettings())
    for name in ("ssrf_mitigation", "validate_https_trackers", "ban_web_seeds"):
        assert pack[name] is True
    assert pack["allow_idna"] is False
    assert pack["enable_outgoing_utp"] is False


@pytest.mark.parametrize("url", ["wss://t.example/announce", "ws://t.example/announce", "WSS://t.example/announce"])
def test_webtorrent_is_not_spoken(url):
    assert SwarmSettings().usable_trackers([url, "udp://t.example:6969"]) == ("udp://t.example:6969",)
    assert settings_pack(SwarmSettings())["webtorrent_stun_server"] == ""


def test_webtorrent_is_spoken_where_it_was_asked_for_and_no_stun_server_is_asked():
    url = "wss://t.example/announce"
    asked_for = SwarmSettings(webtorrent=True)
    assert asked_for.usable_trackers([url]) == (url,)
    assert asked_for.usable_trackers(["ws://127.0.0.1/announce"]) == ()
    assert settings_pack(asked_for)["webtorrent_stun_server"] == ""
    behind = replace(asked_for, proxy=Proxy("socks5", "127.0.0.1", 1))
    assert behind.usable_trackers([url]) == ()  # it is UDP, past any proxy


def test_limits_are_handed_on():
    pack = settings_pack(SwarmSettings(choices=NetworkChoices(upload_limit=1000, download_limit=2000)))
    assert (pack["upload_rate_limit"], pack["download_rate_limit"]) == (1000, 2000)


def blocked(settings, address):
    wanted = ipaddress.ip_address(address)
    ranges = [tuple(map(ipaddress.ip_address, one)) for one in blocked_ranges(settings)]
    return any(first <= wanted <= last for first, last in ranges if first.version == wanted.version)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1", "ff02::1"]
)
def test_some_addresses_are_never_peers(address):
    assert blocked(SwarmSettings(loopback=True, lan=True), address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254", "::1"])
def test_loopback_only_where_it_was_asked_for(address):
    assert blocked(SwarmSettings(), address)
    assert not blocked(SwarmSettings(loopback=True), address)
    assert not blocked(SwarmSettings(listen=Endpoint("0.0.0.0", 6881)), address)
    assert not blocked(SwarmSettings(listen=Endpoint("127.0.0.1", 0)), address)
    assert blocked(SwarmSettings(listen=Endpoint("192.0.2.7", 6881)), address)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.7.7", "172.16.0.1", "100.64.0.1", "fd00::1"])
def test_private_networks_have_a_switch(address):
    assert not blocked(SwarmSettings(), address)
    assert blocked(SwarmSettings(lan=False), address)


def test_public_addresses_pass():
    strictest = SwarmSettings(lan=False)
    assert not any(blocked(strictest, address) for address in ("8.8.8.8", "1.1.1.1", "2606:4700::1111"))


def test_naming_a_peer_or_tracker_on_this_machine_allows_it():
    assert SwarmSettings().with_room_for([Endpoint("localhost", 6881)]).allows_loopback
    tracker = "http://127.0.0.1:6969/announce"
    assert SwarmSettings(named=LOOPBACK).with_room_for([], urls=[tracker]).allows_loopback
    assert not SwarmSettings().with_room_for([], urls=[tracker]).allows_loopback  # a link's word alone
    elsewhere = SwarmSettings().with_room_for([Endpoint("192.0.2.1", 6881)], urls=["http://tracker.example/"])
    assert not elsewhere.allows_loopback


def test_low_ports_are_for_peers_that_were_named():
    assert settings_pack(SwarmSettings())["no_connect_privileged_ports"] is True
    assert settings_pack(OFF.with_room_for([Endpoint("8.8.8.8", 6881)]))["no_connect_privileged_ports"] is True
    assert settings_pack(OFF.with_room_for([Endpoint("8.8.8.8", 443)]))["no_connect_privileged_ports"] is False
