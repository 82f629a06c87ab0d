from dataclasses import replace
from hashlib import sha1, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher, SmallFile, hash_small
from p2pqwen.values.digest import Sha256
from tests.strategies import content, edge_sizes


def plain_root(row: list[bytes], width: int, filler: bytes) -> bytes:
    row = row + [filler] * (width - len(row))
    while len(row) > 1:
        row = [sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def plain_hashes(data: bytes, piece_length: int, *, padded: bool) -> FileHashes:
    """BEP 52 written down as it reads, the whole file in memory."""
    pieces = [data[at : at + piece_length] for at in range(0, len(data), piece_length)]
    if not pieces:
        return FileHashes(0, b"", None, b"")
    v1 = b"".join(sha1(piece.ljust(piece_length, b"\0") if padded else piece).digest() for piece in pieces)
    rows = [
        [sha256(piece[at : at + BLOCK_SIZE]).digest() for at in range(0, len(piece), BLOCK_SIZE)] for piece in pieces
    ]
    if len(pieces) == 1:
        width = 1
        while width < len(rows[0]):
            width *= 2
        return FileHashes(len(data), v1, Sha256(plain_root(rows[0], width, bytes(32))), b"")
    blocks = piece_length // BLOCK_SIZE
    layer = [plain_root(row, blocks, bytes(32)) for row in rows]
    width = 1
    while width < len(layer):
        width *= 2
    filler = plain_root([], blocks, bytes(32))
    return FileHashes(len(data), v1, Sha256(plain_root(layer, width, filler)), b"".join(layer))


piece_lengths = st.sampled_from([BLOCK_SIZE, 2 * BLOCK_SIZE, 4 * BLOCK_SIZE])


@given(st.data(), piece_lengths, st.booleans())
def test_any_chunks_give_the_hashes_of_the_whole(data, piece_length, padded):
    size = data.draw(edge_sizes(piece_length))
    file = content(size, 1)
    chunk_sizes = data.draw(
        st.lists(
            st.sampled_from([0, 1, 100, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, piece_length, 3 * piece_length])
        )
    )
    hasher = PieceHasher(piece_length, padded=padded)
    at = 0
    for chunk_size in chunk_sizes:
        hasher.update(memoryview(file)[at : at + chunk_size])
        at += chunk_size
    hasher.update(bytearray(file[at:]))
    assert hasher.finish() == plain_hashes(file, piece_length, padded=padded)


def test_a_pad_longer_than_the_zeros_at_hand():
    piece_length = 4 << 20
    hasher = PieceHasher(piece_length, padded=True)
    hasher.update(b"abc")
    assert hasher.finish().pieces == sha1(b"abc".ljust(piece_length, b"\0")).digest()


@pytest.mark.parametrize("piece_length", [0, 1, 8192, 16383, 48 * 1024])
def test_piece_lengths_that_cannot_be(piece_length):
    with pytest.raises(ValueError, match="power of two"):
        PieceHasher(piece_length, padded=False)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE, 4 * BLOCK_SIZE - 1])
def test_a_small_file_in_memory_has_the_hashes_of_one_that_is_read(size, padded):
    contents = [content(size, 11), content(5, 12), content(size, 13)]
    small = [SmallFile(data, Sha256.of(data), padded) for data in contents]
    expected = [plain_hashes(data, 4 * BLOCK_SIZE, padded=padded) for data in contents]
    assert hash_small(small, 4 * BLOCK_SIZE) == expected
    assert not any(hashes.left_out_pieces for hashes in expected)
    without = hash_small([file._replace(v1=False) for file in small], 4 * BLOCK_SIZE)
    assert without == [replace(hashes, pieces=b"") for hashes in expected]
    assert [hashes.left_out_pieces for hashes in without] == [file.data != b"" for file in small]
