"""The nodes in libtorrent's saved DHT state, which is the only way that the binding shows them."""

from __future__ import annotations

import ipaddress

from p2pqwen.errors import FormatError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent import bencode

_MAX_STATE = 1 << 20
_SIZES = {b"nodes": 6, b"nodes6": 18}


def nodes_of(state: bytes) -> list[Endpoint]:
    """Return the endpoints in bencoded session parameters; an empty list if there are none."""
    try:
        saved = bencode.decode_dict(state, max_bytes=_MAX_STATE).get(b"dht state")
    except FormatError:
        return []
    found: list[Endpoint] = []
    for key, size in _SIZES.items():
        rows = saved.get(key) if isinstance(saved, dict) else None
        compact = [row for row in rows if isinstance(row, bytes) and len(row) == size] if isinstance(rows, list) else []
        found += [Endpoint(str(ipaddress.ip_address(row[:-2])), int.from_bytes(row[-2:])) for row in compact]
    return [one for one in found if one.port]
