"""Iterative lookup (BEP 5): ask the closest known nodes for closer ones, until the closest have all answered.

The addresses in replies come from strangers. So a node may only lead to addresses as public as its own, and to few at
one IP address. A lookup ends after a fixed number of queries and seconds, whatever it is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from p2pqwen.errors import NetworkError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import Contact, Reply, distance
from p2pqwen.values.address_class import AddressClass, classify

K = 8
"""How many of the closest nodes hold an item (BEP 5)."""
ALPHA = 8
MAX_QUERIES = 200
MAX_CANDIDATES = 1000
MAX_PER_ADDRESS = 4
_SLOW = 0.8
"""Seconds after which an unanswered query no longer delays other queries."""
_STILL = 1.5
_ENOUGH = 4
"""After at least `_ENOUGH` answers and `_STILL` seconds of silence, the other nodes are taken for dead."""
_MORE, _AGREED = 0.5, 2
"""Once `_AGREED` hosts hold what was looked for, wait `_MORE` seconds for others: one liar must not end a lookup."""

Ask = Callable[[Endpoint], Awaitable[Reply]]


def never(_reply: Reply) -> bool:
    """Find nothing, so that every node near the target is asked."""
    return False


@dataclass(frozen=True, slots=True)
class Answered:
    """A node that answered."""

    id: bytes
    endpoint: Endpoint
    reply: Reply


class Lookup:
    """One lookup in one family of addresses. `ask` sends the query; a `NetworkError` means no answer.

    `is_found` tells whether a reply contains what was looked for: after a few of those, not every node need be asked.
    """

    def __init__(
        self,
        target: bytes,
        family: int,
        ask: Ask,
        start: Iterable[Endpoint | Contact],
        *,
        own_id: bytes = b"",
        is_found: Callable[[Reply], bool] = never,
    ) -> None:
        self._target, self._family, self._ask, self._own_id = target, family, ask, own_id
        self._is_found = is_found
        self._found: set[str] = set()
        self._unasked: dict[Endpoint, int] = {}
        for one in start:
            if isinstance(one, Contact):
                self._unasked[one.endpoint] = distance(one.id, target)
            else:
                self._unasked[one] = -1  # its id is unknown: ask it first
        self._seen = set(self._unasked)
        self._per_address: Counter[str] = Counter()
        self._running: dict[asyncio.Task[None], tuple[int, float]] = {}
        self._answered: list[tuple[int, Answered]] = []
        self._last_answer = self._deadline = 0.0
        self.asked = 0

    async def run(self, seconds: float) -> list[Answered]:
        """Return every node that answered, the nearest to the target first."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        try:
            while loop.time() < self._deadline and self._go_on(loop.time()):
                wait = min(self._deadline - loop.time(), _SLOW / 2)
                done, _ = await asyncio.wait(self._running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del self._running[task]
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        return [one for _, one in sorted(self._answered, key=lambda row: row[0])]

    def _go_on(self, now: float) -> bool:
        """Start queries that may start; tell whether any that matters is running."""
        horizon = self._horizon()
        waiting = sum(now - since < _SLOW for _, since in self._running.values())
        while waiting < ALPHA and self.asked < MAX_QUERIES and self._unasked:
            node = min(self._unasked, key=lambda one: self._unasked[one])
            far = self._unasked.pop(node)
            if far >= horizon:
                self._unasked.clear()
                break
            self.asked += 1
            self._running[asyncio.create_task(self._query(node))] = (far, now)
            waiting += 1
        if not any(far < horizon for far, _ in self._running.values()):
            return False
        return waiting > 0 or len(self._answered) < _ENOUGH or now - self._last_answer < _STILL

    def _horizon(self) -> int:
        """Return the distance of the K-th closest node that answered; farther nodes do not matter."""
        closest = sorted(far for far, _ in self._answered)[:K]
        return closest[-1] if len(closest) == K else 1 << 200

    async def _query(self, node: Endpoint) -> None:
        try:
            reply = await self._ask(node)
        except NetworkError:
            return
        if all(one.id != reply.sender or one.endpoint == node for _, one in self._answered):
            self._answered.append((distance(reply.sender, self._target), Answered(reply.sender, node, reply)))
        self._last_answer = asyncio.get_running_loop().time()
        if self._is_found(reply):
            self._found.add(node.host)
            if len(self._found) == _AGREED:
                self._deadline = min(self._deadline, self._last_answer + _MORE)
        for contact in reply.nodes(self._family):
            # Nodes that saw our puts name us in replies, whatever BEP 43 says.
            if contact.id != self._own_id and self._may_follow(node, contact.endpoint):
                self._seen.add(contact.endpoint)
                self._unasked[contact.endpoint] = distance(contact.id, self._target)

    def _may_follow(self, source: Endpoint, offered: Endpoint) -> bool:
        if offered in self._seen or len(self._seen) >= MAX_CANDIDATES or not may_lead(source.host, offered.host):
            return False
        if classify(offered.host) is AddressClass.PUBLIC:
            self._per_address[offered.host] += 1
        return self._per_address[offered.host] <= MAX_PER_ADDRESS


def may_lead(source: str, offered: str) -> bool:
    """Tell whether a node at one address may refer us to another: never into a network more private than its own."""
    here, there = classify(source), classify(offered)
    if there is AddressClass.LOOPBACK:
        return here is AddressClass.LOOPBACK
    return there is AddressClass.PUBLIC or (there is not AddressClass.NEVER and here is not AddressClass.PUBLIC)
