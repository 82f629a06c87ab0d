"""Which bytes are the piece that a torrent names, by v1 and by v2."""

from __future__ import annotations

import pytest
from hypothesis import given

from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.webseed.piece_check import PieceCheck
from tests.strategies import payloads
from tests.support.web_seeds import make_torrent


@given(payloads(2 * BLOCK_SIZE))
@pytest.mark.parametrize("with_layers", [True, False])
def test_right_pieces_pass_and_changed_ones_do_not(with_layers, payload):
    metainfo = make_torrent({path.text: data for path, data in payload.items()}, piece_length=2 * BLOCK_SIZE)
    check = PieceCheck(metainfo.parsed_info, metainfo.piece_layers if with_layers else None)
    for number, file in enumerate(metainfo.files):
        data = payload[file.path]
        assert check.count(number) == -(-len(data) // (2 * BLOCK_SIZE))
        for piece in range(check.count(number)):
            span = check.span(number, piece)
            right = bytearray(data[span.start : span.stop])
            assert check.holds(number, piece, memoryview(right))
            assert not check.holds(number, piece, memoryview(right)[:-1])
            assert not check.holds(number, piece, memoryview(right + b"\0"))
            right[len(right) // 2] ^= 1
            assert not check.holds(number, piece, memoryview(right))
