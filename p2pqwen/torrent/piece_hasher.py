"""Hash the v1 pieces and the v2 tree of one file in one pass, with memory bounded by one piece's leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import TYPE_CHECKING

from p2pqwen.torrent import merkle
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.values.digest import Sha256

if TYPE_CHECKING:
    from hashlib import _Hash

STEP = 256 * 1024
"""Bytes that each digest takes in turn, so that all but the first find them in the CPU's cache.

SHA-1 and the leaves of 4 MiB take 1.08 s per GB in steps of 64 to 256 KiB, and 1.42 s one after the other. Among these
steps, the longest costs the least.
"""
V1_SIZE = 20
"""Bytes of a v1 piece hash."""
_ZEROS = memoryview(bytes(1 << 20))


@dataclass(frozen=True, slots=True)
class FileHashes:
    """The hashes of one file in a hybrid torrent.

    `pieces`: its v1 piece hashes, 20 bytes each. `pieces_root`: its BEP 52 root, None for an empty file.
    `piece_layer`: 32 bytes per piece, empty unless the file is longer than one piece.
    """

    size: int
    pieces: bytes
    pieces_root: Sha256 | None
    piece_layer: bytes

    @classmethod
    def of_pieces(cls, pieces: bytes, rows: bytes, piece_length: int, *, size: int | None = None) -> FileHashes:
        """Return a file's hashes from its pieces' 20-byte `pieces` and 32-byte `rows`; `size` None: whole pieces."""
        size = len(pieces) // V1_SIZE * piece_length if size is None else size
        root = merkle.root_of_layer(rows, piece_length)
        return cls(size, pieces, Sha256(root), rows if size > piece_length else b"")

    @property
    def rows(self) -> bytes:
        """32 bytes per piece, even for a file of one whole piece, for which BEP 52 has no layer."""
        return self.piece_layer or (b"" if self.pieces_root is None else self.pieces_root.raw)


def steps(view: memoryview) -> Iterator[memoryview]:
    """Yield a view in parts of `STEP` bytes, each for several digests in turn."""
    return (view[at : at + STEP] for at in range(0, len(view), STEP))


class PieceHasher:
    """Hashes one file, given in chunks of any length (multiples of 16 KiB are fastest).

    With `padded`, a pad file follows, and the last v1 piece covers its zeros. hashlib releases the GIL for more than
    2,047 bytes, so threads can hash several files at once.
    """

    def __init__(self, piece_length: int, *, padded: bool) -> None:
        if piece_length < BLOCK_SIZE or piece_length & (piece_length - 1):
            raise ValueError("a piece length is a power of two of at least 16 KiB")
        self._piece_length = piece_length
        self._padded = padded
        self._size = 0
        self._pieces = bytearray()
        self._layer = bytearray()
        self._piece = sha1()  # noqa: S324 - BitTorrent v1
        self._block = sha256()
        self._leaves: list[bytes] = []

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the file's next bytes."""
        view = memoryview(chunk)
        while view:
            part = view[: min(STEP, self._piece_length - self._size % self._piece_length)]
            self._piece.update(part)
            self._add_blocks(part)
            self._size += len(part)
            if self._size % self._piece_length == 0:
                self._end_piece()
            view = view[len(part) :]

    def add(self, hashes: FileHashes) -> None:
        """Take the file's next whole pieces, hashed elsewhere as a separate file; only at the start of a piece."""
        if self._size % self._piece_length or hashes.size % self._piece_length:
            raise ValueError("whole pieces follow whole pieces")
        self._pieces += hashes.pieces
        self._layer += hashes.rows
        self._size += hashes.size

    def finish(self) -> FileHashes:
        """Return the file's hashes; the hasher cannot be used afterwards."""
        size, piece_length = self._size, self._piece_length
        if size % BLOCK_SIZE:
            self._leaves.append(self._block.digest())
        if size == 0:
            return FileHashes(0, b"", None, b"")
        if size % piece_length and self._padded:
            _add_zeros(self._piece, -size % piece_length)
        if size < piece_length:
            return FileHashes(size, self._piece.digest(), _small_root(self._leaves), b"")
        if size % piece_length:
            self._end_piece()
        return FileHashes.of_pieces(bytes(self._pieces), bytes(self._layer), piece_length, size=size)

    def _add_blocks(self, part: memoryview) -> None:
        filled = self._size % BLOCK_SIZE
        if filled:
            head = part[: BLOCK_SIZE - filled]
            self._block.update(head)
            if filled + len(head) < BLOCK_SIZE:
                return
            self._leaves.append(self._block.digest())
            part = part[len(head) :]
        whole = len(part) - len(part) % BLOCK_SIZE
        self._leaves += [sha256(part[at : at + BLOCK_SIZE]).digest() for at in range(0, whole, BLOCK_SIZE)]
        self._block = sha256(part[whole:])

    def _end_piece(self) -> None:
        self._pieces += self._piece.digest()
        self._piece = sha1()  # noqa: S324 - BitTorrent v1
        self._layer += merkle.root(b"".join(self._leaves), width=self._piece_length // BLOCK_SIZE)
        self._leaves = []


def hash_small(data: bytes, piece_length: int, *, padded: bool) -> FileHashes:
    """Do what `PieceHasher` does, faster, for a file in memory that is shorter than a piece."""
    if not data:
        return FileHashes(0, b"", None, b"")
    piece = sha1(data)  # noqa: S324 - BitTorrent v1
    if padded:
        _add_zeros(piece, piece_length - len(data))
    leaves = [sha256(data[at : at + BLOCK_SIZE]).digest() for at in range(0, len(data), BLOCK_SIZE)]
    return FileHashes(len(data), piece.digest(), _small_root(leaves), b"")


def _small_root(leaves: list[bytes]) -> Sha256:
    """Return the root of a file shorter than a piece, padded to its own power of two, not to the piece (BEP 52)."""
    return Sha256(leaves[0] if len(leaves) == 1 else merkle.root(b"".join(leaves)))


def _add_zeros(piece: _Hash, count: int) -> None:
    for at in range(0, count, len(_ZEROS)):
        piece.update(_ZEROS[: count - at])
