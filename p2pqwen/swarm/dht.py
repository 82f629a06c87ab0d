"""BEP 44 items in the DHT: get and put them, in the IPv4 and the IPv6 network (BEP 32) side by side.

This is our own client, beside libtorrent's. The binding can only put items that it signs itself, but people who cannot
sign an item must be able to keep it alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import random
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from p2pqwen.errors import FormatError, NetworkError, VerificationError
from p2pqwen.index.mutable_item import MAX_VALUE, ItemAddress, MutableItem
from p2pqwen.signing.keys import SIGNATURE_SIZE
from p2pqwen.swarm import bloom
from p2pqwen.swarm.dht_lookup import Answered, K, Lookup, may_lead, never
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import METHOD_UNKNOWN, SEQUENCE_TOO_LOW, Contact, Reply
from p2pqwen.swarm.krpc_client import KrpcClient, QueryRefusedError
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.values.digest import Sha1

LOOKUP_SECONDS = 20.0
NAME_SECONDS = 4.0
MAX_TOKEN = 256
MAX_PEERS = 100
MAX_START = 24
"""Nodes with unknown ids that a lookup begins with."""
_FAMILIES = (4, 6)
_WANT: list[Bencoded] = [b"n4", b"n6"]
_MAX_GOOD = 500

Value = TypeVar("Value")
Asking = Callable[[Endpoint], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Gotten:
    """What the DHT knew: the item with the highest sequence number, how many nodes answered, how many held it.

    `others`: different items that nodes held, in random order. Where anyone may write an item, a high sequence number
    says nothing about its worth.
    """

    item: MutableItem | None
    answered: int
    holders: int = 0
    others: tuple[MutableItem, ...] = ()

    @property
    def items(self) -> tuple[MutableItem, ...]:
        """Every distinct item that was found."""
        return () if self.item is None else (self.item, *self.others)


@dataclass(frozen=True, slots=True)
class Put:
    """The result of a put: how many nodes took the item. `newer`: an item with a higher sequence number stopped it."""

    accepted: int
    answered: int
    newer: MutableItem | None = None
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SwarmCount:
    """What the DHT knew of a swarm: how many nodes answered, and how many peers had announced to them.

    `seeds` is None if no node answered BEP 33's scrape; then `peers` are those named, seeds included.
    """

    answered: int
    seeds: int | None
    peers: int


@dataclass(slots=True)
class _Search:
    """One lookup for an address in one family: the nodes that answered with a token, and the items they gave."""

    answered: list[Answered] = field(default_factory=list)
    items: list[MutableItem] = field(default_factory=list)

    @property
    def best(self) -> MutableItem | None:
        """The item with the highest sequence number."""
        return max(self.items, key=_rank, default=None)


class Dht:
    """A client of the DHT for a few requests; an asynchronous context manager.

    `start` are the nodes to begin with: names are resolved on entry, and those without an address are left out.
    """

    def __init__(
        self,
        start: Iterable[Endpoint | Contact],
        *,
        seconds: float = LOOKUP_SECONDS,
        client: KrpcClient | None = None,
    ) -> None:
        self._given = tuple(dict.fromkeys(start))
        self._start: list[Endpoint | Contact] = []
        self._seconds = seconds
        self._client = client or KrpcClient()
        self._good: dict[Endpoint, Contact] = {}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        contacts = [one for one in self._given if isinstance(one, Contact)]
        names = [one for one in self._given if isinstance(one, Endpoint)]
        self._start = [*contacts, *(await resolve_all(names))[:MAX_START]]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    @property
    def good_nodes(self) -> list[Contact]:
        """The nodes that answered, the latest last; worth remembering."""
        return list(self._good.values())

    async def find_nodes(self, target: bytes) -> list[Contact]:
        """Return the closest nodes to an id that answered, in both families."""
        found = await self._lookup(target, lambda node: self._client.ask(node, "find_node", _find_node(target)))
        return [Contact(one.id, one.endpoint) for answered in found for one in answered[:K]]

    async def get_peers(self, infohash: Sha1) -> list[Endpoint]:
        """Return peers that announced a torrent, by its v1 infohash (BEP 5); may stop before all are found."""
        found = await self._find_peers(infohash, is_found=lambda reply: bool(reply.peers()))
        named = [
            [peer for peer in one.reply.peers() if may_lead(one.endpoint.host, peer.host)]
            for answered in found
            for one in answered
        ]
        return list(dict.fromkeys(in_turn(named)))[:MAX_PEERS]  # one node must not fill the list

    async def count(self, infohash: Sha1) -> SwarmCount:
        """Estimate how many peers announced a torrent, complete or not, by its v1 infohash (BEP 5, BEP 33).

        Peers that only one of several nodes claims do not count, since anyone can be one node.
        """
        arguments: dict[bytes, Bencoded] = {b"info_hash": infohash.raw, b"scrape": 1, b"want": _WANT}
        found = await self._lookup(infohash.raw, lambda node: self._client.ask(node, "get_peers", arguments))
        counts = [_count(answered) for answered in found]
        # A peer in both networks would be counted twice.
        return max(counts, key=lambda one: (one.seeds or 0, one.peers, one.answered), default=SwarmCount(0, None, 0))

    async def announce(self, infohash: Sha1, port: int) -> int:
        """Announce that this machine accepts peers of a torrent at a port (BEP 5); return how many nodes took it."""
        found = await self._find_peers(infohash)
        closest = [one for answered in found for one in answered[:K] if b"token" in one.reply.values]
        arguments: dict[bytes, Bencoded] = {b"info_hash": infohash.raw, b"port": port, b"implied_port": 0}

        async def announce_at(one: Answered) -> bool:
            token = one.reply.text("token", at_most=MAX_TOKEN)
            try:
                await self._client.ask(one.endpoint, "announce_peer", {**arguments, b"token": token or b""})
            except NetworkError:
                return False
            return True

        return sum(await asyncio.gather(*(announce_at(one) for one in closest)))

    async def get(self, address: ItemAddress) -> Gotten:
        """Look up an item; forged and broken ones are skipped."""
        searches = await self._search(address)
        items = [item for search in searches for item in search.items]
        best = max((best for one in searches if (best := one.best) is not None), key=_rank, default=None)
        others = [item for item in dict.fromkeys(items) if item != best]
        random.shuffle(others)
        return Gotten(
            best, sum(len(one.answered) for one in searches), sum(item == best for item in items), tuple(others)
        )

    async def get_immutable(self, target: Sha1) -> bytes | None:
        """Look up an immutable item; return its bencoded value, whose SHA-1 is the target, or None."""
        found = await self._find_item(target, is_found=lambda reply: _immutable(target, reply) is not None)
        values = (_immutable(target, one.reply) for answered in found for one in answered)
        return next((value for value in values if value is not None), None)

    async def put_immutable(self, value: bytes) -> int:
        """Put an immutable item, given as its bencoded value; return how many nodes took it."""
        target = Sha1(hashlib.sha1(value).digest())  # noqa: S324 - BEP 44 uses SHA-1
        arguments: dict[bytes, Bencoded] = {b"v": bencode.decode(value, max_bytes=MAX_VALUE)}
        found = await self._find_item(target)
        closest = [one for family in found for one in [one for one in family if b"token" in one.reply.values][:K]]
        outcomes = await asyncio.gather(*(self._put_values(one, arguments) for one in closest))
        return sum(text == "" for text in outcomes)

    async def put(self, item: MutableItem, *, cas: int | None = None) -> Put:
        """Put a signed item, by any publisher, at the nodes closest to it; if a newer one is there, return that.

        With `cas`, a node takes it only in place of the item with that sequence number (BEP 44).
        """
        searches = await self._search(item.address)
        answered = sum(len(one.answered) for one in searches)
        best = max((best for one in searches if (best := one.best) is not None), key=_rank, default=None)
        if best is not None and best.sequence > item.sequence:
            return Put(0, answered, best)
        closest = [one for search in searches for one in search.answered[:K]]
        outcomes = await asyncio.gather(*(self._put_at(one, item, cas) for one in closest))
        refusals = tuple(dict.fromkeys(text for text in outcomes if text))
        return Put(sum(text == "" for text in outcomes), answered, None, refusals)

    async def _put_at(self, one: Answered, item: MutableItem, cas: int | None) -> str | None:
        """Put a mutable item at one node; see `_put_values`."""
        arguments: dict[bytes, Bencoded] = {
            b"k": item.address.public.raw,
            b"seq": item.sequence,
            b"sig": item.signature,
            b"v": bencode.decode(item.value, max_bytes=MAX_VALUE),
        }
        if item.address.salt:
            arguments[b"salt"] = item.address.salt
        if cas is not None:
            arguments[b"cas"] = cas
        return await self._put_values(one, arguments)

    async def _put_values(self, one: Answered, arguments: Mapping[bytes, Bencoded]) -> str | None:
        """Put at one node; return "" if it took the item, its reason if it refused, None if it did not answer."""
        token = one.reply.text("token", at_most=MAX_TOKEN)
        if token is None:
            return "sent no token"
        try:
            await self._client.ask(one.endpoint, "put", {**arguments, b"token": token})
        except QueryRefusedError as error:
            return "holds a newer item" if error.code == SEQUENCE_TOO_LOW else error.message
        except NetworkError:
            return None
        return ""

    async def _find_peers(self, infohash: Sha1, *, is_found: Callable[[Reply], bool] = never) -> list[list[Answered]]:
        arguments: dict[bytes, Bencoded] = {b"info_hash": infohash.raw, b"want": _WANT}
        return await self._lookup(infohash.raw, lambda node: self._client.ask(node, "get_peers", arguments), is_found)

    async def _search(self, address: ItemAddress) -> list[_Search]:
        searches = []
        for answered in await self._find_item(address.target):
            items = [item for one in answered if (item := _item(address, one.reply)) is not None]
            searches.append(_Search([one for one in answered if b"token" in one.reply.values], items))
        return searches

    async def _find_item(self, target: Sha1, *, is_found: Callable[[Reply], bool] = never) -> list[list[Answered]]:
        arguments: dict[bytes, Bencoded] = {b"target": target.raw, b"want": _WANT}

        async def ask(node: Endpoint) -> Reply:
            try:
                return await self._client.ask(node, "get", arguments)
            except QueryRefusedError as error:
                if error.code != METHOD_UNKNOWN:
                    raise
                return await self._client.ask(node, "find_node", _find_node(target.raw))  # a plain bootstrap router

        return await self._lookup(target.raw, ask, is_found)

    async def _lookup(
        self, target: bytes, ask: Asking, is_found: Callable[[Reply], bool] = never
    ) -> list[list[Answered]]:
        async def noting(node: Endpoint) -> Reply:
            reply = await ask(node)
            self._note(node, reply)
            return reply

        start = [*self._start, *self._good.values()]
        lookups = [
            Lookup(target, family, noting, of_family, own_id=self._client.id, is_found=is_found)
            for family in _FAMILIES
            if (of_family := [one for one in start if _family(one) == family])
        ]
        return list(await asyncio.gather(*(lookup.run(self._seconds) for lookup in lookups)))

    def _note(self, node: Endpoint, reply: Reply) -> Contact:
        contact = Contact(reply.sender, node)
        self._good.pop(node, None)
        self._good[node] = contact
        if len(self._good) > _MAX_GOOD:
            del self._good[next(iter(self._good))]
        return contact


async def resolve_all(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Return the addresses of these endpoints, of every family; names that do not resolve in time are left out.

    Lookups run on daemon threads: a dead name server would otherwise delay the end of the program.
    """
    loop = asyncio.get_running_loop()
    waiting = []
    known = [endpoint for endpoint in endpoints if _is_address(endpoint.host)]
    for endpoint in endpoints:
        if endpoint in known:
            continue
        future: asyncio.Future[list[Endpoint]] = loop.create_future()
        waiting.append(future)
        threading.Thread(target=_resolve, args=(loop, endpoint, future), daemon=True).start()
    if waiting:
        await asyncio.wait(waiting, timeout=NAME_SECONDS)
    found = known + [one for future in waiting if future.done() for one in future.result()]
    for future in waiting:
        future.cancel()
    return list(dict.fromkeys(found))


def _resolve(loop: asyncio.AbstractEventLoop, endpoint: Endpoint, future: asyncio.Future[list[Endpoint]]) -> None:
    try:
        rows = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
        found = [Endpoint(str(row[4][0]), endpoint.port) for row in rows]
    except (OSError, ValueError):  # an unknown or invalid name
        found = []

    def tell() -> None:
        if not future.done():
            future.set_result(found)

    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(tell)


def _count(answered: Sequence[Answered]) -> SwarmCount:
    """Count a swarm in one family of addresses."""
    sketches = [
        bloom.join(data for one in answered if (data := one.reply.text(name, at_most=bloom.FILTER_SIZE)) is not None)
        for name in ("BFsd", "BFpe")
    ]
    seeds, others = (None if sketch is None else round(bloom.estimate(sketch)) for sketch in sketches)
    naming = [peers for one in answered if (peers := set(one.reply.peers()))]
    named = Counter(peer for peers in naming for peer in peers)
    sure = sum(times >= min(2, len(naming)) for times in named.values())
    return SwarmCount(len(answered), seeds, max(sure, (seeds or 0) + (others or 0)))


def _item(address: ItemAddress, reply: Reply) -> MutableItem | None:
    """Return the item in a reply; None if there is none, or if it is invalid."""
    sequence, value = reply.values.get(b"seq"), reply.values.get(b"v")
    signature = reply.text("sig", at_most=SIGNATURE_SIZE)
    if not isinstance(sequence, int) or value is None or signature is None:
        return None
    try:
        return MutableItem(address, sequence, bencode.encode(value), signature)
    except (FormatError, VerificationError):
        return None


def _immutable(target: Sha1, reply: Reply) -> bytes | None:
    """Return the value in a reply if it is the one that the target names."""
    value = reply.values.get(b"v")
    if value is None or b"k" in reply.values:
        return None
    encoded = bencode.encode(value)
    return encoded if hashlib.sha1(encoded).digest() == target.raw and len(encoded) <= MAX_VALUE else None  # noqa: S324


def in_turn(lists: Iterable[Sequence[Value]]) -> list[Value]:
    """Return the first of each list, then the second of each, and so on, so that no list crowds out another."""
    rows = itertools.zip_longest(*lists, fillvalue=None)
    return [one for row in rows for one in row if one is not None]


def _rank(item: MutableItem) -> tuple[int, bytes]:
    """Order items; of two with one sequence number, every reader must choose the same."""
    return item.sequence, item.value


def _find_node(target: bytes) -> Mapping[bytes, Bencoded]:
    return {b"target": target, b"want": _WANT}


def _family(one: Endpoint | Contact) -> int:
    endpoint = one.endpoint if isinstance(one, Contact) else one
    return 6 if ":" in endpoint.host else 4


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
