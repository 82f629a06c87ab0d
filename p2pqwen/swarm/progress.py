"""A torrent's state, as plain frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Phase(enum.StrEnum):
    """What libtorrent is doing with a torrent."""

    METADATA = "metadata"  # asking peers for the info dictionary
    CHECKING = "checking"  # reading what is on disk
    DOWNLOADING = "downloading"
    FINISHED = "finished"  # every wanted piece has arrived and was checked


@dataclass(frozen=True, slots=True)
class TorrentProgress:
    """One moment of one torrent. Sizes in bytes, rates in bytes a second, payload only.

    `total` and `done` count the wanted files. `peers` are connected; `seeds` are those of them that have everything.
    `web_seeds` are counted separately. `utp_peers` are connected over uTP (BEP 29), `webrtc_peers` over WebRTC.
    `peer_rate` is the rate from peers alone. `known` are peers we have heard of. `checked` goes from 0 to 1.
    """

    phase: Phase
    total: int
    done: int
    checked: float
    peers: int
    seeds: int
    web_seeds: int
    known: int
    download_rate: int
    peer_rate: int
    upload_rate: int
    received: int
    received_from_peers: int
    received_from_web_seeds: int
    uploaded: int
    failed: int
    paused: bool = False
    utp_peers: int = 0
    webrtc_peers: int = 0
