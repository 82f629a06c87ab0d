"""A DHT node whose items expire when a test says so, and that can misbehave (BEP 5, BEP 44)."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import Contact, compact_node, distance
from p2pqwen.torrent import bencode

LIFETIME = 2 * 3600.0
"""Seconds for which a real node keeps an item that is not put again (BEP 44)."""


def bloom_of(addresses: Sequence[str]) -> bytes:
    """Return the BEP 33 Bloom filter of these addresses."""
    bloom = bytearray(256)
    for text in addresses:
        digest = hashlib.sha1(ipaddress.ip_address(text).packed).digest()
        for at in (0, 2):
            index = int.from_bytes(digest[at : at + 2], "little") % 2048
            bloom[index // 8] |= 1 << index % 8
    return bytes(bloom)


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stored:
    values: dict[bytes, Any]
    since: float


@dataclass
class Behaviour:
    """How a node misbehaves; by default it does not."""

    silent: bool = False
    lose: int = 0  # queries to lose before answering
    refuse_get: bool = False  # like a bootstrap router that supports only BEP 5
    extra_nodes: list[Contact] = field(default_factory=list)
    spoil: Callable[[dict[bytes, Any]], None] | None = None  # edits the values of a reply
    scrapes: bool = True  # supports BEP 33
    answer_from_elsewhere: bool = False
    wrong_transaction: bool = False


class DhtNodeSimulator:
    """One node with a thread and a socket. `asked` is the log of queries: method, and arrival by the test's clock."""

    def __init__(self, host: str = "127.0.0.1", *, clock: Clock | None = None, lifetime: float = LIFETIME) -> None:
        self.id = secrets.token_bytes(20)
        self.known: list[Contact] = []
        self.items: dict[bytes, Stored] = {}
        self.swarms: dict[bytes, tuple[list[Endpoint], list[Endpoint]]] = {}  # by infohash: seeds and others
        self.behaviour = Behaviour()
        self.asked: list[tuple[str, dict[bytes, Any]]] = []
        self._clock = clock or Clock()
        self._lifetime = lifetime
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._other = socket.socket(family, socket.SOCK_DGRAM)
        self._other.bind((host, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(*self._socket.getsockname()[:2])

    @property
    def contact(self) -> Contact:
        return Contact(self.id, self.endpoint)

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.asked)

    def close(self) -> None:
        self._other.sendto(b"", tuple(self._socket.getsockname()[:2]))
        self._thread.join()
        self._socket.close()
        self._other.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(65536)
            if not data:
                return
            try:
                query = bencode.decode_dict(data, max_bytes=65536)
            except FormatError:
                continue
            self.asked.append((query[b"q"].decode(), query))
            if self.behaviour.silent:
                continue
            if self.behaviour.lose:
                self.behaviour.lose -= 1
                continue
            self._send(self._answer(query), sender)

    def _send(self, message: dict[bytes, Any], sender: tuple[Any, ...]) -> None:
        if self.behaviour.wrong_transaction:
            message[b"t"] = bytes(len(message[b"t"]))
        (self._other if self.behaviour.answer_from_elsewhere else self._socket).sendto(bencode.encode(message), sender)

    def _answer(self, query: dict[bytes, Any]) -> dict[bytes, Any]:
        method, arguments = query[b"q"].decode(), query[b"a"]
        if method == "get" and self.behaviour.refuse_get:
            return {b"t": query[b"t"], b"y": b"e", b"e": [204, b"Method Unknown"]}
        values: dict[bytes, Any] = {b"id": self.id}
        if method in ("find_node", "get"):
            self._name_nodes(values, arguments[b"target"])
        if method == "get_peers":
            self._name_nodes(values, arguments[b"info_hash"])
            self._name_peers(values, arguments)
        if method == "get":
            values[b"token"] = b"token of " + self.id
            stored = self.items.get(arguments[b"target"])
            if stored is not None and self._clock() - stored.since < self._lifetime:
                values |= stored.values
        if method == "put" and (fault := self._put(arguments)):
            return {b"t": query[b"t"], b"y": b"e", b"e": fault}
        if self.behaviour.spoil is not None:
            self.behaviour.spoil(values)
        return {b"t": query[b"t"], b"y": b"r", b"r": values}

    def _put(self, arguments: dict[bytes, Any]) -> list[Any] | None:
        if arguments[b"token"] != b"token of " + self.id:
            return [203, b"invalid token"]
        if b"k" not in arguments:  # immutable
            value = bencode.encode(arguments[b"v"])
            self.items[hashlib.sha1(value).digest()] = Stored({b"v": arguments[b"v"]}, self._clock())
            return None
        target = hashlib.sha1(arguments[b"k"] + arguments.get(b"salt", b"")).digest()
        before = self.items.get(target)
        if before is not None and self._clock() - before.since < self._lifetime:
            if before.values[b"seq"] > arguments[b"seq"]:
                return [302, b"sequence number less than current"]
            if arguments.get(b"cas", before.values[b"seq"]) != before.values[b"seq"]:
                return [301, b"CAS mismatch"]
        kept = {name: arguments[name] for name in (b"k", b"seq", b"sig", b"v")}
        self.items[target] = Stored(kept, self._clock())
        return None

    def _name_peers(self, values: dict[bytes, Any], arguments: dict[bytes, Any]) -> None:
        swarm = self.swarms.get(arguments[b"info_hash"])
        if swarm is None:
            return
        rows = [ipaddress.ip_address(one.host).packed + one.port.to_bytes(2) for one in (*swarm[0], *swarm[1])]
        values[b"values"] = rows
        if arguments.get(b"scrape") == 1 and self.behaviour.scrapes:
            values[b"BFsd"], values[b"BFpe"] = (bloom_of([one.host for one in some]) for some in swarm)

    def _name_nodes(self, values: dict[bytes, Any], target: bytes) -> None:
        nearest = sorted(self.known, key=lambda one: distance(one.id, target))[:8]
        for key, version in ((b"nodes", 4), (b"nodes6", 6)):
            rows = [
                compact_node(one)
                for one in [*nearest, *self.behaviour.extra_nodes]
                if ipaddress.ip_address(one.endpoint.host).version == version
            ]
            if rows:
                values[key] = b"".join(rows)


@contextmanager
def simulated_dht(
    count: int = 5, *, hosts: Sequence[str] = ("127.0.0.1",), clock: Clock | None = None
) -> Iterator[list[DhtNodeSimulator]]:
    """Run nodes that all know one another, at the hosts in turn."""
    nodes = [DhtNodeSimulator(hosts[number % len(hosts)], clock=clock) for number in range(count)]
    for node in nodes:
        node.known = [other.contact for other in nodes if other is not node]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.close()
