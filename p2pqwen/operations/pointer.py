"""A publisher's pointer in the DHT: find it, put it, and keep it alive for somebody who has gone.

A pointer is a hint. It says where an index may be had, and acceptance decides about that index. What is kept and put
again here is therefore only what stands under a key of a root that was accepted; the notice boards, which anybody can
write, are read when nothing better is known and put right whenever a node passes by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2pqwen.errors import P2pqwenError
from p2pqwen.index.acceptance import Accepted, Position
from p2pqwen.index.document import DhtPointer
from p2pqwen.index.mutable_item import MAX_SEQUENCE, ItemAddress, MutableItem, sign_item
from p2pqwen.index.pointer import (
    BOARD_SLOTS,
    Pointer,
    board_address,
    board_key,
    board_notice,
    board_salt,
    parse_board,
    parse_pointer,
)
from p2pqwen.index.root import SignedRoot
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.swarm.dht import Dht, Put
from p2pqwen.values.digest import Sha256

MAX_ADDRESSES = 8
"""Places looked at for one publisher."""


@dataclass(frozen=True, slots=True)
class FoundPointer:
    """A pointer and the item that carried it. `vouched`: its key is one of the publisher's, not just a board's word."""

    pointer: Pointer
    item: MutableItem
    vouched: bool

    @property
    def rank(self) -> tuple[bool, Position]:
        """Order pointers by what they are worth following."""
        return self.vouched, self.pointer.position


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What keeping a publisher's items alive came to: items put, nodes that took the best of them, nodes asked."""

    items: int
    nodes: int
    answered: int
    boards: int


def pointer_address(document_dht: DhtPointer | None, roots: Sequence[SignedRoot]) -> ItemAddress | None:
    """Return where an index says its pointer stands; None where it says nothing, or names a key of no root."""
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
) -> list[FoundPointer]:
    """Return the pointers of a publisher that the DHT knows, those worth following first.

    `roots` and `address` are what an accepted index says; without them, and where nothing is found there, the notice
    boards are asked.
    """
    keys = set(_root_keys(roots).values())
    known = [item.address for item in store.items(publisher) if item.address.public in keys]
    addresses = list(dict.fromkeys([*([address] if address else []), *known]))[:MAX_ADDRESSES]
    found = await _read(dht, addresses, keys)
    if not found:
        boards = await asyncio.gather(*(dht.get(board_address(publisher, slot)) for slot in range(BOARD_SLOTS)))
        named = [one for board in boards if board.item is not None for one in _board(board.item)]
        fresh = [one for one in dict.fromkeys(named) if one not in addresses][:MAX_ADDRESSES]
        found = await _read(dht, fresh, keys)
    return sorted(found, key=lambda one: one.rank, reverse=True)


async def read_pointer(dht: Dht, address: ItemAddress) -> FoundPointer | None:
    """Return the pointer at one address, for a user who was given its key."""
    return next(iter(await _read(dht, [address], {address.public})), None)


def keep_pointers(store: PointerStore, accepted: Accepted, found: Iterable[FoundPointer]) -> None:
    """Keep the items that stand under a key of the accepted roots; raises `DiskError`."""
    keys = set(_root_keys(accepted.roots).values())
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
    """Sign a pointer with a sequence number above every one before, and keep it before anybody sees it.

    The number is above the one kept here, the one `seen` in the DHT, and one that follows from the index's position, so
    that a home that lost its memory does not fall behind what it put earlier. Raises `DiskError`.
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
    dht: Dht, store: PointerStore, publisher: Sha256, key: PrivateKey, salt: bytes, pointer: Pointer
) -> Put:
    """Put a new pointer of one's own, and name it on the boards."""
    address = ItemAddress(key.public, salt)
    seen = (await dht.get(address)).item
    item = sign_pointer(store, publisher, key, salt, pointer, seen=-1 if seen is None else seen.sequence)
    put, _ = await asyncio.gather(dht.put(item), _put_boards(dht, publisher, [address]))
    return put


async def refresh(
    dht: Dht, store: PointerStore, publisher: Sha256, roots: Sequence[SignedRoot], address: ItemAddress | None
) -> Refreshed:
    """Put the kept items of a publisher again, without his keys, and his boards; newer items met on the way are kept.

    `address` is the one his newest accepted index names; it leads the boards.
    """
    keys = set(_root_keys(roots).values())
    items = [item for item in store.items(publisher) if item.address.public in keys]
    puts = await asyncio.gather(*(_put_again(dht, store, publisher, item) for item in items))
    addresses = list(dict.fromkeys([*([address] if address else []), *(item.address for item in items)]))
    boards = await _put_boards(dht, publisher, addresses) if addresses else 0
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


async def _put_boards(dht: Dht, publisher: Sha256, addresses: Sequence[ItemAddress]) -> int:
    """Name the addresses on every board that does not; return how many boards stand now."""
    done = await asyncio.gather(*(_put_board(dht, publisher, slot, addresses) for slot in range(BOARD_SLOTS)))
    return sum(done)


async def _put_board(dht: Dht, publisher: Sha256, slot: int, addresses: Sequence[ItemAddress]) -> bool:
    there = (await dht.get(board_address(publisher, slot))).item
    if there is not None and _board(there)[: len(addresses)] == tuple(addresses):
        return (await dht.put(there)).accepted > 0
    sequence = 0 if there is None else there.sequence + 1
    if sequence > MAX_SEQUENCE:
        return False  # spoiled for good, as long as somebody keeps it so
    item = sign_item(board_key(publisher), board_salt(slot), sequence, board_notice(addresses))
    return (await dht.put(item)).accepted > 0


async def _read(dht: Dht, addresses: Sequence[ItemAddress], vouched: set[PublicKey]) -> list[FoundPointer]:
    answers = await asyncio.gather(*(dht.get(address) for address in addresses))
    items = [answer.item for answer in answers if answer.item is not None]
    return [
        FoundPointer(pointer, item, item.address.public in vouched)
        for item in items
        if (pointer := _pointer(item)) is not None
    ]


def _pointer(item: MutableItem) -> Pointer | None:
    try:
        return parse_pointer(item.value)
    except P2pqwenError:
        return None


def _board(item: MutableItem) -> tuple[ItemAddress, ...]:
    try:
        return parse_board(item.value)
    except P2pqwenError:
        return ()


def _root_keys(roots: Sequence[SignedRoot]) -> dict[Sha256, PublicKey]:
    """Return every key of a chain of roots: pointers put before a rotation still lead somewhere."""
    return {keyid: key.public for signed in roots for keyid, key in signed.root.keys.items()}
