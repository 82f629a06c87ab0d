from hashlib import sha256

import pytest

from p2pqwen.torrent import merkle


def naive_root(leaves: list[bytes], width: int) -> bytes:
    row = leaves + [bytes(32)] * (width - len(leaves))
    while len(row) > 1:
        row = [sha256(row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def leaves(count: int) -> list[bytes]:
    return [sha256(b"%d" % number).digest() for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33])
def test_root_is_that_of_the_tree_padded_with_zeros(count):
    width = merkle.power_of_two_above(count)
    assert merkle.root(b"".join(leaves(count))) == naive_root(leaves(count), width)
    assert merkle.root(b"".join(leaves(count)), width=4 * width) == naive_root(leaves(count), 4 * width)


@pytest.mark.parametrize(("pieces", "blocks_in_last"), [(2, 1), (2, 4), (3, 3), (5, 2), (8, 4)])
def test_root_of_a_layer_is_the_root_of_its_leaves(pieces, blocks_in_last):
    blocks = 4
    row = leaves((pieces - 1) * blocks + blocks_in_last)
    layer = b"".join(
        merkle.root(b"".join(row[at : at + blocks]), width=blocks) for at in range(0, pieces * blocks, blocks)
    )
    expected = naive_root(row, blocks * merkle.power_of_two_above(pieces))
    assert merkle.root_of_layer(layer, blocks * merkle.BLOCK_SIZE) == expected


def test_pad_hashes():
    assert merkle.pad_hash(0) == bytes(32)
    assert merkle.pad_hash(10) == naive_root([], 1024)


@pytest.mark.parametrize(
    ("nodes", "width"), [(b"", None), (bytes(31), None), (bytes(33), None), (bytes(96), 2), (bytes(64), 3)]
)
def test_rows_that_cannot_be(nodes, width):
    with pytest.raises(ValueError, match="merkle row"):
        merkle.root(nodes, width=width)
