"""An asyncio UDP client for KRPC: queries with timeouts, retries and a rate limit, over IPv4 and, if available, IPv6.

It accepts an answer only from the address it asked, with the transaction id it made up. It answers no queries.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import ID_SIZE, MAX_DATAGRAM, Fault, Reply, encode_query, parse_answer
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.values.rate_limiter import RateLimiter

QUERIES_PER_SECOND = 40.0
BURST = 32
_TRANSACTION_SIZE = 4
_MAX_PENDING = 1000


@dataclass(frozen=True, slots=True)
class KrpcTimeouts:
    """Seconds to wait in each attempt at a query."""

    tries: tuple[float, ...] = (1.2, 2.5)


class QueryRefusedError(NetworkError):
    """The node answered with an error; `code` is KRPC's."""

    def __init__(self, node: Endpoint, fault: Fault) -> None:
        self.code = fault.code
        super().__init__(f"DHT node {node} refused", got=f"{fault.code} {fault.text}")


class KrpcClient:
    """A client with sockets of its own; an asynchronous context manager."""

    def __init__(
        self, *, timeouts: KrpcTimeouts = KrpcTimeouts(), rate: float = QUERIES_PER_SECOND, burst: int = BURST
    ) -> None:
        self.id = secrets.token_bytes(ID_SIZE)
        self.queries = 0
        self._timeouts = timeouts
        self._limiter = RateLimiter(rate, now=time.monotonic(), burst=burst / rate)
        self._transports: dict[int, asyncio.DatagramTransport] = {}
        self._pending: dict[tuple[bytes, Endpoint], asyncio.Future[Reply | Fault]] = {}

    async def __aenter__(self) -> Self:
        for version, family, address in ((4, socket.AF_INET, "0.0.0.0"), (6, socket.AF_INET6, "::")):  # noqa: S104 - replies come from anywhere
            with contextlib.suppress(OSError):
                self._transports[version] = await self._open(family, address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._transports.values():
            transport.close()
        await asyncio.sleep(0)  # lets the loop run the callback that ends `close`
        for pending in self._pending.values():
            pending.cancel()

    async def ask(self, node: Endpoint, method: str, arguments: Mapping[bytes, Bencoded]) -> Reply:
        """Return a node's reply; raises `NetworkError` if none comes in time, `QueryRefusedError`."""
        address = ipaddress.ip_address(node.host)
        node = Endpoint(str(address), node.port)
        transport = self._transports.get(address.version)
        if transport is None:
            raise NetworkError(f"this machine has no IPv{address.version}, so it cannot ask {node}")
        if len(self._pending) >= _MAX_PENDING:
            raise NetworkError("too many DHT queries are waiting")
        for seconds in self._timeouts.tries:
            await self._wait_for_turn()
            with contextlib.suppress(TimeoutError):
                return await self._try(transport, node, method, arguments, seconds)
        raise NetworkError(f"DHT node {node} does not answer")

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        if (seconds := self._limiter.wait(self._limiter.take(1, now), now)) > 0:
            await asyncio.sleep(seconds)

    async def _try(
        self,
        transport: asyncio.DatagramTransport,
        node: Endpoint,
        method: str,
        arguments: Mapping[bytes, Bencoded],
        seconds: float,
    ) -> Reply:
        transaction = secrets.token_bytes(_TRANSACTION_SIZE)
        key = (transaction, node)
        answer: asyncio.Future[Reply | Fault] = asyncio.get_running_loop().create_future()
        self._pending[key] = answer
        self.queries += 1
        try:
            transport.sendto(encode_query(transaction, method, self.id, arguments), (node.host, node.port))
            async with asyncio.timeout(seconds):
                found = await answer
        finally:
            del self._pending[key]
        if isinstance(found, Fault):
            raise QueryRefusedError(node, found)
        return found

    async def _open(self, family: socket.AddressFamily, address: str) -> asyncio.DatagramTransport:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.settimeout(0)  # asyncio waits
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, 0))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._arrived), sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport

    def _arrived(self, data: bytes, sender: Endpoint) -> None:
        if len(data) > MAX_DATAGRAM:
            return
        try:
            found = parse_answer(data)
        except FormatError:
            return
        if found is not None:
            waiting = self._pending.get((found.transaction, sender))
            if waiting is not None and not waiting.done():
                waiting.set_result(found)


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, arrived: Callable[[bytes, Endpoint], None]) -> None:
        self._arrived = arrived

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._arrived(data, Endpoint(str(addr[0]), int(addr[1])))
