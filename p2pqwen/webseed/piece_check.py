"""Check that a piece of a file is the one in the torrent, before a byte of it is passed on.

The check uses the v1 piece hash, which every hybrid's info dictionary contains, also one that came from peers without
its piece layers. It is one SHA-1 over the piece. In Python that is a third cheaper than a SHA-256 for each 16 KiB and a
tree above them (measured: 0.85 s against 1.3 s of CPU time for 1.5 GiB). That matters because libtorrent hashes
everything twice more behind the relay. The check finds broken and lying mirrors. To pass it with other bytes takes a
second preimage of a hash that the publisher signed, and then libtorrent's SHA-256 refuses the piece.

If time does not matter, pass the piece layers, and the v2 tree decides. A file of one piece is always checked by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1, sha256

from p2pqwen.torrent import merkle
from p2pqwen.torrent.info import Info
from p2pqwen.torrent.merkle import BLOCK_SIZE, HASH_SIZE
from p2pqwen.torrent.piece_hasher import V1_SIZE
from p2pqwen.values.digest import Sha256


class PieceCheck:
    """The hashes of one torrent's pieces, addressed by file and by piece within the file."""

    def __init__(self, info: Info, piece_layers: Mapping[Sha256, bytes] | None = None) -> None:
        self._info = info
        self._layers = piece_layers or {}
        self.piece_length = info.layout.piece_length

    def count(self, file: int) -> int:
        """Return how many pieces the file at this index has; 0 for an empty one."""
        return -(-self._info.files[file].size // self.piece_length)

    def span(self, file: int, piece: int) -> range:
        """Return the byte offsets of a piece within its file."""
        start = piece * self.piece_length
        return range(start, min(start + self.piece_length, self._info.files[file].size))

    def holds(self, file: int, piece: int, data: memoryview) -> bool:
        """Tell whether `data` is that piece; data of another length is not."""
        if len(data) != len(self.span(file, piece)):
            return False
        entry = self._info.files[file]
        assert entry.pieces_root is not None  # noqa: S101 - only an empty file has none, and it has no pieces
        if entry.size <= self.piece_length:
            return merkle.root(_leaves(data)) == entry.pieces_root.raw
        layer = self._layers.get(entry.pieces_root)
        if layer is None:
            return self._v1_holds(file, piece, data)
        expected = layer[piece * HASH_SIZE : (piece + 1) * HASH_SIZE]
        return merkle.root(_leaves(data), width=self.piece_length // BLOCK_SIZE) == expected

    def _v1_holds(self, file: int, piece: int, data: memoryview) -> bool:
        layout = self._info.layout
        number = layout.pieces(file)[piece]
        digest = sha1(data)  # noqa: S324 - BitTorrent v1
        if piece == self.count(file) - 1:
            digest.update(bytes(layout.pad_after(file)))
        return digest.digest() == self._info.pieces[number * V1_SIZE : (number + 1) * V1_SIZE]


def _leaves(data: memoryview) -> bytes:
    return b"".join([sha256(data[at : at + BLOCK_SIZE]).digest() for at in range(0, len(data), BLOCK_SIZE)])
