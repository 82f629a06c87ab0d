"""Whom a torrent calls, and how, when it tries its peers once more."""

from __future__ import annotations

from types import SimpleNamespace

import libtorrent as lt

from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.torrent import SwarmTorrent

TOLD, HEARD, LATER = (Endpoint(f"192.0.2.{number}", 6881) for number in (1, 2, 3))
UTP = 0x04


class Handle:
    """Stands for libtorrent's, and notes who is to be connected to, and whether over uTP."""

    def __init__(self):
        self.calls = []
        self.connected = []

    def get_peer_info(self):
        return [SimpleNamespace(ip=(one.host, one.port)) for one in self.connected]

    def connect_peer(self, address, _source, flags):
        self.calls.append((Endpoint(*address), bool(flags & UTP)))


def make():
    handle = Handle()
    torrent = SwarmTorrent(handle, 0)
    torrent.connect(TOLD)
    handle.calls.clear()
    return torrent, handle


def test_each_peer_is_called_by_turns_over_both_however_long_a_call_takes():
    torrent, handle = make()
    for connecting in (False, True, True, False, True, False):  # a call that hangs takes no turn away
        handle.connected = [TOLD] if connecting else []
        torrent.reconnect(utp=True)
    assert [utp for _, utp in handle.calls] == [False, True, False]
    handle.connected = []
    torrent.reconnect(utp=False)
    assert handle.calls[-1] == (TOLD, False)


def test_who_was_heard_of_and_has_just_failed_is_called_again():
    torrent, handle = make()
    torrent.hear([(HEARD.host, HEARD.port)])
    torrent.hear([(LATER.host, LATER.port)])  # libtorrent leaves out whoever failed
    torrent.reconnect(utp=True, heard=True)
    assert {peer for peer, _ in handle.calls} == {TOLD, HEARD, LATER}
    torrent.forget_heard()
    handle.calls.clear()
    torrent.reconnect(utp=True, heard=True)
    assert {peer for peer, _ in handle.calls} == {TOLD}


def test_peers_that_are_heard_of_are_bounded():
    torrent, handle = make()
    for number in range(100):
        torrent.hear([(f"198.51.100.{number}", 1), (f"198.51.100.{number}", 2)])
    torrent.reconnect(utp=True, heard=True)
    assert len(handle.calls) == 51


NUMBERS = [
    "total_wanted",
    "total_wanted_done",
    "progress",
    "list_peers",
    "download_payload_rate",
    "upload_payload_rate",
    "total_payload_download",
    "total_payload_upload",
    "total_failed_bytes",
    "flags",
    "num_peers",
    "num_connections",
]


class Asked(Handle):
    """Counts how often libtorrent is asked for peers, which it is only where somebody is connected."""

    asked = 0

    def get_peer_info(self):
        self.asked += 1
        return []


def told(**moved: int) -> SimpleNamespace:
    return SimpleNamespace(state=None, **(dict.fromkeys(NUMBERS, 0) | moved))


def test_a_seed_that_nobody_is_connected_to_is_looked_at_only_when_the_session_told_of_it():
    handle = Asked()
    torrent = SwarmTorrent(handle, 0, followed=True)
    torrent.note(told(total_payload_upload=5))
    before = torrent.progress()
    assert before.uploaded == 5
    assert torrent.progress() is before
    torrent.note(told(total_payload_upload=7, num_connections=1, num_peers=1))
    assert torrent.progress().uploaded == torrent.progress().uploaded == 7
    assert handle.asked == 2, "whoever is connected moves without a word of the session"
    torrent.note(told(total_payload_upload=9))
    assert torrent.progress().uploaded == 9


def test_peers_that_came_by_webrtc_are_counted_apart():
    handle = Asked()
    torrent = SwarmTorrent(handle, 0)
    handle.status = lambda _: told(num_connections=2, num_peers=2)
    here = [
        SimpleNamespace(
            ip=(one.host, one.port),
            local_endpoint=("192.0.2.9", 1),
            flags=0,
            connection_type=lt.peer_info.standard_bittorrent,
            total_download=0,
            payload_down_speed=0,
        )
        for one in (TOLD, HEARD)
    ]
    handle.get_peer_info = lambda: here
    torrent.meet(TOLD, webrtc=True)
    torrent.meet(HEARD)
    assert (torrent.progress().peers, torrent.progress().webrtc_peers) == (2, 1)
    torrent.meet(TOLD)  # the same address again, over TCP
    assert torrent.progress().webrtc_peers == 0
