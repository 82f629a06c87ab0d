"""What other clients leave of a .torrent that they write again (measured with the clients named here)."""

from __future__ import annotations

from p2pqwen.torrent import bencode

KEPT = {
    "aria2, webtorrent": (b"info",),
    "Transmission of a magnet": (b"info", b"comment"),
    "qBittorrent's backup": (b"info", b"comment", b"created by"),
    "layers left out": (b"info", b"comment", b"p2pqwen", b"signatures", b"url-list"),
}
"""The keys that are left, by who writes it; the last is nobody's habit, and the hardest to get right."""


def as_saved_by(client: str, torrent: bytes) -> bytes:
    """Return a .torrent as that client writes it."""
    top = bencode.decode_dict(torrent, max_bytes=len(torrent))
    return bencode.encode({key: value for key, value in top.items() if key in KEPT[client]})
