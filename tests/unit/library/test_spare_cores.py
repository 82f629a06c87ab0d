"""Pieces on spare cores: the same hashes whatever the number of cores and readers, and a bounded number in flight."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.library import spare_cores
from p2pqwen.library.hashing import hash_file
from p2pqwen.library.spare_cores import SpareCores, SpreadPieces
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.piece_hasher import FileHashes, HashedPiece, PieceHasher
from tests.strategies import content, edge_sizes
from tests.support.waiting import wait_until

PIECE = 2 * BLOCK_SIZE
CORES = {number: SpareCores(number) for number in (1, 2, 5)}


def hashes_of(data: bytes, piece_length: int, *, padded: bool) -> FileHashes:
    hasher = PieceHasher(piece_length, padded=padded)
    hasher.update(data)
    return hasher.finish()


def spread(data: bytes, steps: list[int], spare: SpareCores, *, padded: bool) -> FileHashes:
    hasher, at = SpreadPieces(PIECE, padded=padded, spare=spare), 0
    while at < len(data):
        room = hasher.room(steps[at % len(steps)])
        part = data[at : at + len(room)]
        room[: len(part)] = part
        hasher.update(len(part))
        at += len(part)
    return hasher.finish()


@given(st.data(), st.sampled_from(sorted(CORES)), st.booleans(), st.booleans())
def test_any_steps_on_any_cores_give_the_hashes_of_the_whole(data, cores, padded, busy):
    file = content(data.draw(edge_sizes(PIECE)), 1)
    steps = data.draw(st.lists(st.sampled_from([1000, BLOCK_SIZE, PIECE, 3 * PIECE]), min_size=1, max_size=3))
    expected = hashes_of(file, PIECE, padded=padded)
    if busy:
        with CORES[cores].reading():
            assert spread(file, steps, CORES[cores], padded=padded) == expected
    else:
        assert spread(file, steps, CORES[cores], padded=padded) == expected


def test_a_piece_hashed_elsewhere_is_taken_where_a_piece_begins():
    data = content(3 * PIECE + 5, 2)
    hasher = PieceHasher(PIECE, padded=False)
    hasher.update(data[:PIECE])
    hasher.add(HashedPiece.of(data[PIECE : 2 * PIECE]))
    hasher.update(data[2 * PIECE :])
    with pytest.raises(ValueError, match="whole piece"):
        hasher.add(HashedPiece.of(bytes(PIECE)))
    assert hasher.finish() == hashes_of(data, PIECE, padded=False)


def test_no_core_is_promised_twice(monkeypatch):
    """With two cores and one reader two pieces are out, one at work and one waiting; with two readers none is."""
    go, spare = threading.Event(), SpareCores(2)
    monkeypatch.setattr(HashedPiece, "of", lambda piece: go.wait(30))
    with spare.reading():
        given_out = [spare.hash_piece(bytearray(PIECE)) for _ in range(4)]
        assert [one is not None for one in given_out] == [True, True, False, False]
        with spare.reading():
            assert spare.hash_piece(bytearray(PIECE)) is None
        go.set()
        assert all(one.result(30) for one in given_out[:2])
        wait_until(lambda: spare.hash_piece(bytearray(PIECE)), 30, "a core that is free again")


def test_waiting_pieces_are_bounded_in_bytes(monkeypatch):
    go, spare = threading.Event(), SpareCores(64)
    monkeypatch.setattr(HashedPiece, "of", lambda piece: go.wait(30))
    monkeypatch.setattr(spare_cores, "MAX_WAITING", 3 * PIECE)
    given_out = [spare.hash_piece(bytearray(PIECE)) for _ in range(5)]
    go.set()
    assert [one is not None for one in given_out] == [True, True, True, False, False]


@pytest.mark.parametrize("cores", sorted(CORES))
def test_a_file_of_many_pieces(tmp_path, monkeypatch, cores):
    data = content(9 * (1 << 18) + 12_345, 3)
    (tmp_path / "file").write_bytes(data)
    monkeypatch.setattr("p2pqwen.library.hashing.SPARE", CORES[cores])
    seen = []
    got = hash_file(tmp_path / "file", piece_length=1 << 18, padded=True, git_blob=False, on_bytes=seen.append)
    assert got.hashes == hashes_of(data, 1 << 18, padded=True)
    assert sum(seen) == got.size == len(data)
