"""Our own SOCKS5 server on loopback, in front of the user's proxy: a BitTorrent session connects to nothing else.

libtorrent sends every connection to its proxy, even those to our web-seed relay, which is on this machine and must not
leave it. So its proxy is this gateway. Each connection goes one of three ways; only those to the relay are direct:

1. to an address given to `lead_directly`, which is the relay's: direct, on this machine;
2. to an address that the guard allows strangers to name, or to a peer that the user named: through the user's proxy,
   which resolves names;
3. to anything else, or if the proxy does not answer: refused (fail closed).

Clients need the name and password, which are drawn at each start. Otherwise other users of this machine could reach the
user's proxy through the gateway, with the user's credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import Collection, Coroutine
from types import TracebackType
from typing import Any, Self

from p2pqwen.loop_thread import LoopThread
from p2pqwen.net import socks5
from p2pqwen.net.dialling import connect_by_socks_soon
from p2pqwen.values.named_hosts import Guard, NamedHosts, RefusedAddressError
from p2pqwen.values.proxy import Proxy

HOST = "127.0.0.1"
DIAL_SECONDS = 20.0
ASK_SECONDS = 10.0
MAX_DIALLING = 64
_BLOCK = 256 * 1024
_BACKLOG = 128
_SUCCEEDED, _FAILED, _NOT_ALLOWED, _NO_COMMAND, _NO_ADDRESS_TYPE = 0, 1, 2, 7, 8

Target = tuple[str, int]
"""A host, as an address or a name, and a port."""


class SocksGateway:
    """The gateway of one session; a context manager. `peers`: those that the user named, wherever they are."""

    def __init__(self, proxy: Proxy, guard: Guard, *, peers: Collection[Target] = ()) -> None:
        self.user, self.password = secrets.token_hex(16), secrets.token_hex(16)
        self.port = 0
        self._proxy, self._guard, self._peers = proxy, guard, frozenset(peers)
        self._direct: frozenset[Target] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = LoopThread("socks gateway")
        self._dialling = asyncio.Semaphore(MAX_DIALLING)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self.port = int(self._listener.getsockname()[1])
        self._thread.start()
        self._thread.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._stop())
        self._thread.stop()

    def lead_directly(self, target: Target) -> None:
        """Connect directly to this address of this machine, our relay's, from now on; raises `ValueError`."""
        if target[0] != HOST:
            raise ValueError(f"{target[0]} is not reached directly")
        self._direct |= {target}

    async def _start(self) -> None:
        self._begin(self._accept())

    async def _stop(self) -> None:
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._listener.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError:  # no descriptor is left, or the client is gone
                await asyncio.sleep(0.1)
                continue
            self._begin(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError, TimeoutError):
            client.settimeout(0)
            async with asyncio.timeout(ASK_SECONDS):
                target = await self._asked(client)
            if target is None:
                return
            try:
                there = await self._connected(target)
            except RefusedAddressError:
                await _answer(client, _NOT_ALLOWED)
                return
            except (OSError, TimeoutError):
                await _answer(client, _FAILED)
                return
            with there:
                await _answer(client, _SUCCEEDED)
                await _join(client, there)

    async def _asked(self, client: socket.socket) -> Target | None:
        """Return the target that a client requests; None if it is not authenticated or requests something else."""
        version, count = await _read(client, 2)
        methods = await _read(client, count)
        loop = asyncio.get_running_loop()
        if version != socks5.VERSION or socks5.PASSWORD not in methods:
            await loop.sock_sendall(client, bytes((socks5.VERSION, socks5.NONE_ACCEPTABLE)))
            return None
        await loop.sock_sendall(client, bytes((socks5.VERSION, socks5.PASSWORD)))
        user = await _read(client, (await _read(client, 2))[1])
        password = await _read(client, (await _read(client, 1))[0])
        known = hmac.compare_digest(user, self.user.encode()) & hmac.compare_digest(password, self.password.encode())
        await loop.sock_sendall(client, bytes((1, 0 if known else 1)))
        if not known:
            return None
        _, command, _, kind = await _read(client, 4)
        length = {socks5.IPV4: 4, socks5.IPV6: 16}.get(kind)
        if kind == socks5.NAME:
            host = (await _read(client, (await _read(client, 1))[0])).decode("ascii", "replace")
        elif length is not None:
            host = socket.inet_ntop(socket.AF_INET if length == 4 else socket.AF_INET6, await _read(client, length))
        else:
            await _answer(client, _NO_ADDRESS_TYPE)
            return None
        port = int.from_bytes(await _read(client, 2), "big")
        if command != socks5.CONNECT:  # UDP above all is not relayed
            await _answer(client, _NO_COMMAND)
            return None
        return host, port

    async def _connected(self, target: Target) -> socket.socket:
        host, port = target
        async with asyncio.timeout(DIAL_SECONDS), self._dialling:
            if target in self._direct:
                return await _connect(target)
            guard = Guard(hosts=NamedHosts.listed([host])) if target in self._peers else self._guard
            return await connect_by_socks_soon(self._proxy, host, port, guard)


async def _connect(target: Target) -> socket.socket:
    connected = socket.socket()
    connected.settimeout(0)
    try:
        await asyncio.get_running_loop().sock_connect(connected, target)
    except BaseException:
        connected.close()
        raise
    return connected


async def _answer(client: socket.socket, reply: int) -> None:
    head = bytes((socks5.VERSION, reply, 0, socks5.IPV4))
    await asyncio.get_running_loop().sock_sendall(client, head + bytes(6))  # no address is given


async def _read(client: socket.socket, count: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < count:
        part = await loop.sock_recv(client, count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


async def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy in both directions until both have ended, or one breaks."""
    for connected in (one, other):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ways = [asyncio.ensure_future(_copy(one, other)), asyncio.ensure_future(_copy(other, one))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop, block = asyncio.get_running_loop(), bytearray(_BLOCK)
    view = memoryview(block)
    while count := await loop.sock_recv_into(source, block):
        await loop.sock_sendall(target, view[:count])
    target.shutdown(socket.SHUT_WR)
