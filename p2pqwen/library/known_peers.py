"""Peers and DHT nodes that answered before: where to begin if no tracker, mirror or bootstrap host is left.

One small file, written whole. It contains only addresses, the latest last. Losing it costs nothing but time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from p2pqwen.errors import P2pqwenError
from p2pqwen.library import durable

MAX_DHT_NODES = 100
MAX_TORRENTS = 500
MAX_PEERS = 30
"""Peers of one torrent."""
MAX_FILE = 4 << 20

UNKNOWN_ID = bytes(20)
"""The id of a DHT node from libtorrent, which does not report ids."""

Address = tuple[str, int]


class KnownPeers:
    """The addresses remembered in one home. A file that cannot be read counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def dht_nodes(self) -> list[tuple[bytes, Address]]:
        """Return DHT nodes with their ids, the latest first."""
        rows = self._read().get("dht")
        found = []
        for row in reversed(rows) if isinstance(rows, list) else ():
            match row:
                case [str() as identity, *address] if (good := _address(address)) and _is_id(identity):
                    found.append((bytes.fromhex(identity), good))
        return found[:MAX_DHT_NODES]

    def peers(self, infohash: bytes) -> list[Address]:
        """Return peers of a torrent, by its v1 infohash, the latest first."""
        torrents = self._read().get("torrents")
        rows = torrents.get(infohash.hex()) if isinstance(torrents, dict) else None
        found = [_address(row) for row in (reversed(rows) if isinstance(rows, list) else ())]
        return [one for one in found if one is not None][:MAX_PEERS]

    def remember_dht_nodes(self, nodes: Iterable[tuple[bytes, Address]]) -> None:
        """Add nodes that just answered; raises `DiskError`."""
        fresh = {address: identity.hex() for identity, address in nodes}
        if not fresh:
            return
        with self._changing() as document:
            kept = {address: identity.hex() for identity, address in reversed(self.dht_nodes()) if address not in fresh}
            document["dht"] = [[identity, *address] for address, identity in (kept | fresh).items()][-MAX_DHT_NODES:]

    def remember_peers(self, infohash: bytes, peers: Iterable[Address]) -> None:
        """Add peers of a torrent that were just connected; raises `DiskError`."""
        fresh = list(dict.fromkeys(peers))
        if not fresh:
            return
        with self._changing() as document:
            kept = [one for one in reversed(self.peers(infohash)) if one not in fresh]
            torrents = document.get("torrents")
            torrents = torrents if isinstance(torrents, dict) else {}
            torrents.pop(infohash.hex(), None)
            torrents[infohash.hex()] = [list(one) for one in (*kept, *fresh)][-MAX_PEERS:]
            while len(torrents) > MAX_TORRENTS:
                del torrents[next(iter(torrents))]
            document["torrents"] = torrents

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Read the file, let the block edit it, and write it, with other processes kept out."""
        with durable.lock(self._path.with_name(f".{self._path.name}.lock"), wait=True):
            document = self._read()
            yield document
            durable.write(self._path, json.dumps(document, separators=(",", ":")).encode())

    def _read(self) -> dict[str, Any]:
        try:
            value = json.loads(durable.read(self._path, max_bytes=MAX_FILE))
        except (P2pqwenError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def _address(row: Any) -> Address | None:  # noqa: ANN401 - what json gives
    match row:
        case [str() as host, int() as port] if 0 < port < 65536:
            try:
                return str(ipaddress.ip_address(host)), port
            except ValueError:
                return None
    return None


def _is_id(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 20
    except ValueError:
        return False
