"""A publisher's pointer in the DHT: find it, put it, and keep it alive after the publisher has gone.

A pointer is a hint: it says where an index may be found, and acceptance judges that index. Pointers are sought and
followed only under keys of the publisher's roots: the accepted ones, and those that a notice board shows. Anyone can
write a board, but nobody can forge roots that hash to the publisher id. No number that a stranger may choose ranks one
pointer above another. Nodes repair the boards that they come across.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from p2pqwen.errors import FormatError, P2pqwenError
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.board import (
    BOARD_SLOTS,
    MAX_BOARD_KEYS,
    Board,
    Vouched,
    board_address,
    board_key,
    board_notice,
    board_salt,
    join_parts,
    parse_board,
    vouched_keys,
    vouching_roots,
)
from p2pqwen.index.board import Notice as BoardNotice
from p2pqwen.index.document import DhtPointer
from p2pqwen.index.mutable_item import MAX_SEQUENCE, ItemAddress, MutableItem, sign_item
from p2pqwen.index.pointer import Pointer, parse_pointer
from p2pqwen.index.root import SignedRoot
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.swarm.dht import Dht, Put, in_turn
from p2pqwen.values.digest import Sha256

MAX_ADDRESSES = 8
"""Addresses looked up in one batch for one publisher."""
MAX_VERSIONS = 16
"""Items looked at for one board if its nodes hold different ones."""


@dataclass(frozen=True, slots=True)
class FoundPointer:
    """A pointer, the item that carried it, and what vouches for its key, which is never just a stranger's."""

    pointer: Pointer
    item: MutableItem
    vouched: Vouched


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh achieved: items put, the most nodes that took one, the most that answered, boards that stand."""

    items: int
    nodes: int
    answered: int
    boards: int


def pointer_address(document_dht: DhtPointer | None, roots: Sequence[SignedRoot]) -> ItemAddress | None:
    """Return where an index says its pointer is; None if it says nothing, or names a key that is in no root."""
    if document_dht is None:
        return None
    public = _root_keys(roots).get(document_dht.key)
    return None if public is None else ItemAddress(public, document_dht.salt.encode())


async def find_pointers(
    dht: Dht,
    publisher: Sha256,
    store: PointerStore,
    *,
    roots: Sequence[SignedRoot] = (),
    address: ItemAddress | None = None,
) -> AsyncGenerator[list[FoundPointer], None]:
    """Yield a publisher's pointers from the DHT, batch by batch as they are found, the best of each batch first.

    `roots` and `address` come from an accepted index and are tried first. The boards are always asked: they may show a
    newer root, with another pointer under its key. A pointer ranks by the key that signed it, whatever it claims. An
    address whose key is in none of the publisher's roots is not looked up.
    """
    at_boards = asyncio.create_task(_read_boards(dht, publisher))
    try:
        keys = vouched_keys(roots)
        known = [item.address for item in store.items(publisher) if item.address.public in keys]
        addresses = list(dict.fromkeys([*([address] if address else []), *known]))[:MAX_ADDRESSES]
        asked = set(addresses)
        yield await _read(dht, addresses, keys)
        boards = await at_boards
        async with contextlib.aclosing(_in_parts(dht, boards)) as in_parts:
            async for some in _first(_inline(boards), in_parts):
                named, keys = _judge(some, publisher, roots)
                fresh = [one for one in named if one not in asked][:MAX_ADDRESSES]
                asked.update(fresh)
                yield await _read(dht, fresh, keys)
    finally:
        at_boards.cancel()


async def all_pointers(
    dht: Dht,
    publisher: Sha256,
    store: PointerStore,
    *,
    roots: Sequence[SignedRoot] = (),
    address: ItemAddress | None = None,
) -> list[FoundPointer]:
    """Return all pointers that `find_pointers` yields, the best first."""
    found = [one async for some in find_pointers(dht, publisher, store, roots=roots, address=address) for one in some]
    return _best_first(found)


async def read_pointer(dht: Dht, address: ItemAddress) -> FoundPointer | None:
    """Return the pointer at one address, for a user who was given its key."""
    return next(iter(await _read(dht, [address], {address.public: Vouched(0, signs_index=False)})), None)


def keep_pointers(store: PointerStore, accepted: Accepted, found: Iterable[FoundPointer]) -> None:
    """Keep the items under keys of the accepted roots; raises `DiskError`."""
    keys = vouched_keys(accepted.roots)
    for one in found:
        if one.item.address.public in keys:
            store.keep(accepted.publisher, one.item)


def sign_pointer(
    store: PointerStore,
    publisher: Sha256,
    key: PrivateKey,
    salt: bytes,
    pointer: Pointer,
    *,
    seen: int = -1,
) -> MutableItem:
    """Sign a pointer with a sequence number above every earlier one, and keep it before anyone sees it.

    The number is above the one kept here and the one `seen` in the DHT, and at least what the index's position gives. A
    home that lost its records therefore does not fall behind what it put earlier. Raises `DiskError`.
    """
    before = store.get(publisher, ItemAddress(key.public, salt))
    value = pointer.encode()
    if before is not None and before.value == value and before.sequence >= seen:
        return before
    from_position = pointer.position.epoch << 32 | pointer.position.version
    sequence = max(from_position, seen + 1, before.sequence + 1 if before is not None else 0)
    item = sign_item(key, salt, min(sequence, MAX_SEQUENCE), value)
    store.keep(publisher, item)
    return item


async def put_pointer(
    dht: Dht, store: PointerStore, roots: Sequence[SignedRoot], key: PrivateKey, salt: bytes, pointer: Pointer
) -> Put:
    """Put a new pointer of the publisher with these roots, and name it on the publisher's boards."""
    publisher = roots[0].root.digest
    address = ItemAddress(key.public, salt)
    seen = (await dht.get(address)).item
    item = sign_pointer(store, publisher, key, salt, pointer, seen=-1 if seen is None else seen.sequence)
    put, _ = await asyncio.gather(dht.put(item), _put_boards(dht, publisher, [address], roots))
    return put


async def refresh(
    dht: Dht, store: PointerStore, publisher: Sha256, roots: Sequence[SignedRoot], address: ItemAddress | None
) -> Refreshed:
    """Put a publisher's kept items and boards again, which needs no private key; keep newer items that the DHT holds.

    `address` is the one that the newest accepted index names; the boards list it first.
    """
    keys = vouched_keys(roots)
    items = [item for item in store.items(publisher) if item.address.public in keys]
    puts = await asyncio.gather(*(_put_again(dht, store, publisher, item) for item in items))
    addresses = list(dict.fromkeys([*([address] if address else []), *(item.address for item in items)]))
    boards = await _put_boards(dht, publisher, addresses, roots) if addresses else 0
    return Refreshed(
        items=sum(put.accepted > 0 for put in puts),
        nodes=max((put.accepted for put in puts), default=0),
        answered=max((put.answered for put in puts), default=0),
        boards=boards,
    )


async def _put_again(dht: Dht, store: PointerStore, publisher: Sha256, item: MutableItem) -> Put:
    put = await dht.put(item)
    if put.newer is None or _pointer(put.newer) is None:
        return put
    store.keep(publisher, put.newer)
    return await dht.put(put.newer)


async def _put_boards(
    dht: Dht, publisher: Sha256, addresses: Sequence[ItemAddress], roots: Sequence[SignedRoot]
) -> int:
    """Write the addresses and the roots to every board that lacks them; return how many boards stand now."""
    notice = board_notice(addresses, roots)
    await asyncio.gather(*(dht.put_immutable(part) for part in notice.parts))
    named = tuple(addresses[:MAX_BOARD_KEYS])
    done = await asyncio.gather(*(_put_board(dht, publisher, slot, named, notice) for slot in range(BOARD_SLOTS)))
    return sum(done)


async def _put_board(
    dht: Dht, publisher: Sha256, slot: int, addresses: tuple[ItemAddress, ...], notice: BoardNotice
) -> bool:
    there = (await dht.get(board_address(publisher, slot))).item
    if there is not None and await _stands(dht, publisher, there, addresses, notice):
        return (await dht.put(there)).accepted > 0
    sequence = 0 if there is None else there.sequence + 1
    if sequence > MAX_SEQUENCE:
        return False  # spoiled for as long as someone keeps the highest number alive
    item = sign_item(board_key(publisher), board_salt(slot), sequence, notice.value)
    return (await dht.put(item)).accepted > 0


async def _stands(
    dht: Dht, publisher: Sha256, there: MutableItem, addresses: tuple[ItemAddress, ...], notice: BoardNotice
) -> bool:
    """Tell whether a board shows what ours would, or newer roots, which a node with older ones must not hide."""
    if there.value == notice.value:
        return True
    board = _board(there)
    whole = await _whole(dht, board) if board is not None and board.parts else board
    if whole is None:
        return False
    roots = _roots_of(whole, publisher, ())
    return len(roots) > notice.roots or (len(roots) == notice.roots and whole.addresses[: len(addresses)] == addresses)


async def _read_boards(dht: Dht, publisher: Sha256) -> list[Board]:
    """Return what the boards say, in turn: the first of each, then what else single nodes hold."""
    answers = await asyncio.gather(*(dht.get(board_address(publisher, slot)) for slot in range(BOARD_SLOTS)))
    items = in_turn([answer.items[:MAX_VERSIONS] for answer in answers])
    return list(dict.fromkeys(board for item in items if (board := _board(item)) is not None))


def _inline(boards: Iterable[Board]) -> list[Board]:
    return [board for board in boards if board.chain is not None]


async def _first(inline: list[Board], in_parts: AsyncGenerator[list[Board], None]) -> AsyncGenerator[list[Board], None]:
    yield inline
    async for some in in_parts:
        yield some


async def _in_parts(dht: Dht, boards: Iterable[Board]) -> AsyncGenerator[list[Board], None]:
    """Yield a few of the boards whose roots are stored in parts, each once it is whole.

    Boards are looked up concurrently, the parts of each one after another. What strangers name thus causes few lookups
    at a time and does not crowd out those that matter.
    """
    wanted = [board for board in boards if board.parts][:BOARD_SLOTS]
    tasks = [asyncio.create_task(_whole(dht, board)) for board in wanted]
    try:
        for task in asyncio.as_completed(tasks):
            if (board := await task) is not None:
                yield [board]
    finally:
        for one in tasks:
            one.cancel()


async def _whole(dht: Dht, board: Board) -> Board | None:
    values = []
    for target in board.parts:
        value = await dht.get_immutable(target)
        if value is None:
            return None
        values.append(value)
    try:
        return replace(board, chain=join_parts(values))
    except FormatError:
        return None


def _judge(
    boards: Iterable[Board], publisher: Sha256, known: Sequence[SignedRoot]
) -> tuple[list[ItemAddress], dict[PublicKey, Vouched]]:
    """Return the addresses that boards name under keys of the publisher's roots, in turn, and those keys."""
    named, keys = [], vouched_keys(known)
    for board in boards:
        roots = _roots_of(board, publisher, known)
        for public, vouched in vouched_keys(roots).items():
            keys[public] = max(vouched, keys.get(public, vouched))
        named.append(board.addresses if roots else ())
    return [one for one in dict.fromkeys(in_turn(named)) if one.public in keys], keys


def _roots_of(board: Board, publisher: Sha256, known: Sequence[SignedRoot]) -> tuple[SignedRoot, ...]:
    """Return the roots that a board shows, none if they are not the publisher's."""
    if board.chain is None:
        return ()
    try:
        return vouching_roots(board.chain, publisher, known)
    except P2pqwenError:
        return ()


async def _read(dht: Dht, addresses: Sequence[ItemAddress], keys: Mapping[PublicKey, Vouched]) -> list[FoundPointer]:
    answers = await asyncio.gather(*(dht.get(address) for address in addresses))
    items = [answer.item for answer in answers if answer.item is not None]
    return _best_first(
        FoundPointer(pointer, item, keys[item.address.public])
        for item in items
        if (pointer := _pointer(item)) is not None
    )


def _best_first(found: Iterable[FoundPointer]) -> list[FoundPointer]:
    """Order pointers by what vouches for them, one of each key first, so that a stolen key crowds out no other."""
    by_key: dict[PublicKey, list[FoundPointer]] = {}
    for one in sorted(found, key=lambda one: one.vouched, reverse=True):
        by_key.setdefault(one.item.address.public, []).append(one)
    return in_turn(by_key.values())


def _pointer(item: MutableItem) -> Pointer | None:
    try:
        return parse_pointer(item.value)
    except P2pqwenError:
        return None


def _board(item: MutableItem) -> Board | None:
    try:
        return parse_board(item.value)
    except P2pqwenError:
        return None


def _root_keys(roots: Sequence[SignedRoot]) -> dict[Sha256, PublicKey]:
    """Return every key of a chain of roots: pointers put before a rotation still lead somewhere."""
    return {keyid: key.public for signed in roots for keyid, key in signed.root.keys.items()}
