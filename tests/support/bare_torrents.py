"""Which keys other clients keep when they rewrite a .torrent, as observed with the clients named here."""

from __future__ import annotations

from p2pqwen.torrent import bencode

KEPT = {
    "aria2, webtorrent": (b"info",),
    "Transmission of a magnet": (b"info", b"comment"),
    "qBittorrent's backup": (b"info", b"comment", b"created by"),
    "layers left out": (b"info", b"comment", b"p2pqwen", b"signatures", b"url-list"),
}
"""The keys that remain, by client; no client does the last, which is the hardest case."""


def as_saved_by(client: str, torrent: bytes) -> bytes:
    """Return a .torrent as that client rewrites it."""
    top = bencode.decode_dict(torrent, max_bytes=len(torrent))
    return bencode.encode({key: value for key, value in top.items() if key in KEPT[client]})
