"""What is fuzzed beside the index: torrents, manifests, magnets and the DHT's items, all of them from anybody.

The first byte chooses the format. Only a `VerificationError` may come of junk, and what is read prints to something
that is read as the same again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from p2pqwen.errors import VerificationError
from p2pqwen.index.acceptance import Position
from p2pqwen.index.board import board_address, board_notice, parse_board, vouching_roots
from p2pqwen.index.compact_roots import decode_roots, encode_roots
from p2pqwen.index.document import parse_file
from p2pqwen.index.mutable_item import parse_item, sign_item
from p2pqwen.index.pointer import Pointer, parse_pointer
from p2pqwen.index.publisher_link import PublisherLink, parse_publisher_link
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.proof import prove
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import metainfo_from_info, parse_metainfo
from p2pqwen.values.digest import Sha1, Sha256

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = PrivateKey.from_seed(bytes(32))
ROOTS = parse_file((VECTORS / "index" / "0.3.json").read_bytes()).roots
PUBLISHER = ROOTS[0].root.digest


def read_torrent(data: bytes) -> None:
    metainfo = parse_metainfo(data)
    _same(parse_metainfo(metainfo.encode()), metainfo)
    keys = {KEY.public.keyid: KEY.public}
    CheckedTorrent.of(metainfo).tried_with(keys).signers(keys)


def read_info(data: bytes) -> None:
    _same(metainfo_from_info(metainfo_from_info(data).info), metainfo_from_info(data))


def read_manifest(data: bytes) -> None:
    manifest = parse_manifest(data)
    _same(manifest.encode(), data)
    prove(manifest)


def read_magnet(data: bytes) -> None:
    magnet = parse_magnet(data.decode("latin-1"))
    _same(parse_magnet(str(magnet)), magnet)


def read_link(data: bytes) -> None:
    link = parse_publisher_link(data.decode("latin-1"))
    _same(parse_publisher_link(str(link)), link)


def read_pointer(data: bytes) -> None:
    pointer = parse_pointer(data)
    _same(parse_pointer(pointer.encode()), pointer)


def read_board(data: bytes) -> None:
    board = parse_board(data)
    if board.chain is not None:
        roots = decode_roots(board.chain)
        _same([one.root for one in decode_roots(encode_roots(roots))], [one.root for one in roots])
        vouching_roots(board.chain, PUBLISHER)


def read_item(data: bytes) -> None:
    item = parse_item(data)
    _same(parse_item(item.encode()), item)


FORMATS: tuple[Callable[[bytes], None], ...] = (
    read_torrent, read_info, read_manifest, read_magnet, read_link, read_pointer, read_board, read_item,
)  # fmt: skip


def judge(data: bytes) -> bool | None:
    """Run one input; True where it was read. Raises for anything but a refusal, and for what does not hold."""
    if not data:
        return None
    try:
        FORMATS[data[0] % len(FORMATS)](data[1:])
    except VerificationError:
        return None
    return True


def seeds() -> Iterator[bytes]:
    """The seed corpus: at least one good example of each format, in the order of `FORMATS`."""
    (torrent,) = (VECTORS / "torrent").glob("*.torrent")
    magnet = json.loads((VECTORS / "torrent" / "expected.json").read_text())["magnet"]
    more = "&tr=udp%3A%2F%2Ft.example%3A1&x.pe=10.0.0.1%3A1&xt.2=urn:btih:" + "A" * 32
    board = board_address(Sha256(bytes(32)), 0)
    pointer = Pointer(Sha1(b"\1" * 20), Sha256(b"\2" * 32), Position(1, 7), Sha256(b"\3" * 32)).encode()
    examples = (
        torrent.read_bytes(),
        parse_metainfo(torrent.read_bytes()).info,
        (VECTORS / "torrent" / "manifest.json").read_bytes(),
        magnet.encode(),
        str(PublisherLink(board, Sha256(bytes(32)))).encode(),
        pointer,
        board_notice([board, board_address(Sha256(bytes(32)), 1)], ROOTS).value,
        sign_item(KEY, b"salt", 5, pointer).encode(),
    )
    yield from (bytes((number,)) + example for number, example in enumerate(examples))
    yield b"\3" + (magnet + more).encode()


def _same(again: object, first: object) -> None:
    if again != first:
        raise AssertionError("what was read prints to something else")
