"""A BitTorrent peer that serves a torrent and misbehaves on request (BEP 3, 9, 10, 11, 52; no encryption, no BEP 6).

Many peers run on one event loop in a separate thread. Each listens, and can connect to others. All of 127.0.0.0/8 is
this machine, so every peer can have its own address, like peers on the internet.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent import bencode
from p2pqwen.torrent.metainfo import Metainfo

BLOCK = 16 * 1024
PROTOCOL = b"\x13BitTorrent protocol"
CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE, BITFIELD, REQUEST, PIECE, CANCEL = range(9)
EXTENDED, HASH_REQUEST, HASHES, HASH_REJECT = 20, 21, 22, 23
UT_METADATA, UT_PEX = 3, 4  # the message ids that we ask others to use
_HANDSHAKE = len(PROTOCOL) + 8 + 20 + 20
_MAX_MESSAGE = 1 << 20
_V2_BIT, _EXTENSION_BIT = 0x10, 0x10

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Content:
    """A torrent and its payload as one string of bytes, pad files included."""

    metainfo: Metainfo
    payload: bytes

    @classmethod
    def of(cls, metainfo: Metainfo, files: Mapping[str, bytes]) -> Self:
        layout = metainfo.layout
        parts = [
            files[file.path.text] + bytes(layout.pad_after(index)) for index, file in enumerate(metainfo.layout.files)
        ]
        return cls(metainfo, b"".join(parts))

    def block(self, piece: int, begin: int, length: int) -> bytes:
        start = piece * self.metainfo.piece_length + begin
        return self.payload[start : start + length]

    @property
    def bitfield(self) -> bytes:
        count = self.metainfo.layout.piece_count
        return (((1 << count) - 1) << (-count % 8)).to_bytes(-(-count // 8), "big")


@dataclass(frozen=True, slots=True)
class Request:
    """A requested block; `number` counts from 0 over all requests to this peer."""

    piece: int
    begin: int
    length: int
    number: int


def honest(_request: Request, block: bytes) -> bytes | None:
    return block


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a peer misbehaves; by default it does not: it is a seed that speaks plain v1.

    `answer` returns the bytes to send for a block, None for nothing. `metadata` does the same for a 16 KiB part of the
    info dictionary. `leave` says when it hangs up: on "connect", "handshake" or "request".
    """

    answer: Callable[[Request, bytes], bytes | None] = honest
    leave: str = ""
    silent: bool = False  # accepts the connection and never sends anything
    greeting: bytes | None = None  # in place of a handshake
    infohash: bytes | None = None
    version_2: bool = False  # answers a v1 handshake with the v2 infohash (BEP 52)
    bitfield: bytes | None = None
    unchoke: bool = True
    chokes_after: int | None = None  # requests; then chokes, and unchokes at once
    after_handshake: bytes = b""
    drip: float = 0.0  # seconds between the bytes of a block
    pause: float = 0.0  # seconds before each block
    held: Callable[[Request], bool] = lambda _request: False  # while this is true, the block waits
    metadata_size: int | None = None
    metadata: Callable[[int, bytes], bytes | None] = lambda _number, part: part
    extension_handshake: bytes | None = None
    pex: tuple[Endpoint, ...] = ()
    hashes: Callable[[bytes], bytes] = lambda asked: message(HASH_REJECT, asked)


@dataclass(slots=True)
class Seen:
    """What happened to a peer so far; counts only grow."""

    connections: int = 0
    handshakes: int = 0
    requests: int = 0
    blocks: int = 0
    metadata_requests: int = 0
    received: Counter[int] = field(default_factory=Counter)  # messages by number


class PeerSimulator:
    """One peer: listening at `endpoint` until its network closes."""

    def __init__(self, content: Content, behaviour: Behaviour) -> None:
        self.content, self.behaviour = content, behaviour
        self.seen = Seen()
        self.endpoint = Endpoint("127.0.0.1", 0)
        self.open = 0
        self._id = b"-XX0001-" + secrets.token_bytes(12)

    async def listen(self, host: str, port: int = 0) -> asyncio.Server:
        server = await asyncio.start_server(self._called, host, port, backlog=500)
        self.endpoint = Endpoint(*server.sockets[0].getsockname()[:2])
        return server

    async def call(self, target: Endpoint, *, source: str | None = None) -> None:
        """Open one connection to another peer and serve it until it ends."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(
                target.host, target.port, local_addr=None if source is None else (source, 0)
            )
            await self._talk(reader, writer, calling=True)

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._talk(reader, writer, calling=False)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, calling: bool) -> None:
        self.seen.connections += 1
        self.open += 1
        try:
            await _Conversation(self, self._id, reader, writer).run(calling=calling)
        except (OSError, asyncio.IncompleteReadError, struct.error):
            pass  # the other side left or broke the protocol
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Conversation:
    def __init__(
        self, peer: PeerSimulator, own_id: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._content, self._behaviour, self._seen = peer.content, peer.behaviour, peer.seen
        self._own_id, self._reader, self._writer = own_id, reader, writer
        self._their_metadata = 0

    async def run(self, *, calling: bool) -> None:
        does = self._behaviour
        if does.silent or does.greeting is not None:
            await self._send(does.greeting or b"")
            await self._reader.read()
        elif does.leave != "connect" and await self._shake_hands(calling=calling) and does.leave != "handshake":
            await self._introduce()
            await self._listen()

    async def _shake_hands(self, *, calling: bool) -> bool:
        if calling:
            await self._send(self._handshake())
        theirs = await self._reader.readexactly(_HANDSHAKE)
        if not theirs.startswith(PROTOCOL):
            return False  # encrypted: the other side retries in plain text
        self._seen.handshakes += 1
        if not calling:
            await self._send(self._handshake())
        return True

    async def _listen(self) -> None:
        while True:
            (length,) = struct.unpack("!I", await self._reader.readexactly(4))
            if length > _MAX_MESSAGE:
                return
            if length:
                await self._hear(await self._reader.readexactly(length))

    async def _introduce(self) -> None:
        does = self._behaviour
        await self._send(self._extension_handshake())
        await self._send(message(BITFIELD, self._content.bitfield if does.bitfield is None else does.bitfield))
        if does.after_handshake:
            await self._send(does.after_handshake)
        if does.unchoke:
            await self._send(message(UNCHOKE))

    async def _hear(self, data: bytes) -> None:
        number, body = data[0], data[1:]
        self._seen.received[number] += 1
        if number == REQUEST:
            await self._serve(*struct.unpack("!III", body))
        elif number == HASH_REQUEST:
            await self._send(self._behaviour.hashes(body))
        elif number == EXTENDED and body[:1] == b"\0":
            await self._meet(bencode.decode_dict(body[1:], max_bytes=_MAX_MESSAGE))
        elif number == EXTENDED and body[0] == UT_METADATA:
            await self._serve_metadata(bencode.decode_dict(body[1:], max_bytes=_MAX_MESSAGE))

    async def _serve(self, piece: int, begin: int, length: int) -> None:
        does = self._behaviour
        request = Request(piece, begin, length, self._seen.requests)
        self._seen.requests += 1
        if does.leave == "request":
            raise ConnectionAbortedError
        if does.chokes_after is not None and request.number % (does.chokes_after + 1) == does.chokes_after:
            await self._send(message(CHOKE) + message(UNCHOKE))
            return
        block = does.answer(request, self._content.block(piece, begin, length))
        if block is None:
            return
        data = message(PIECE, struct.pack("!II", piece, begin) + block)
        while does.held(request):  # noqa: ASYNC110 - a test in another thread says when
            await asyncio.sleep(0.01)
        await asyncio.sleep(does.pause)
        for part in [data[at : at + 1] for at in range(len(data))] if does.drip else [data]:
            await self._send(part)
            await asyncio.sleep(does.drip)
        self._seen.blocks += 1

    async def _meet(self, theirs: dict[bytes, Any]) -> None:
        numbers = theirs.get(b"m", {})
        self._their_metadata = numbers.get(b"ut_metadata", 0)
        if self._behaviour.pex and b"ut_pex" in numbers:
            added = b"".join(_compact(one) for one in self._behaviour.pex)
            pex = bencode.encode({b"added": added, b"added.f": bytes(len(self._behaviour.pex))})
            await self._send(message(EXTENDED, bytes([numbers[b"ut_pex"]]) + pex))

    async def _serve_metadata(self, asked: dict[bytes, Any]) -> None:
        if asked.get(b"msg_type") != 0 or not self._their_metadata:
            return
        self._seen.metadata_requests += 1
        info = self._content.metainfo.info
        part = self._behaviour.metadata(asked[b"piece"], info[asked[b"piece"] * BLOCK :][:BLOCK])
        if part is None:
            return
        size = len(info) if self._behaviour.metadata_size is None else self._behaviour.metadata_size
        head = bencode.encode({b"msg_type": 1, b"piece": asked[b"piece"], b"total_size": size})
        await self._send(message(EXTENDED, bytes([self._their_metadata]) + head + part))

    def _handshake(self) -> bytes:
        reserved = bytearray(8)
        reserved[5] |= _EXTENSION_BIT
        infohash = self._content.metainfo.infohash
        own = infohash.v1.raw
        if self._behaviour.version_2:
            reserved[7] |= _V2_BIT
            own = infohash.v2.raw[:20]
        return PROTOCOL + reserved + (self._behaviour.infohash or own) + self._own_id

    def _extension_handshake(self) -> bytes:
        if self._behaviour.extension_handshake is not None:
            return message(EXTENDED, b"\0" + self._behaviour.extension_handshake)
        size = self._behaviour.metadata_size
        known: dict[bytes, Any] = {
            b"m": {b"ut_metadata": UT_METADATA, b"ut_pex": UT_PEX},
            b"metadata_size": len(self._content.metainfo.info) if size is None else size,
            b"reqq": 2000,
        }
        return message(EXTENDED, b"\0" + bencode.encode(known))

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class PeerNetwork:
    """Peers on one event loop, in a thread; a context manager that leaves none behind."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def peer(
        self, content: Content, behaviour: Behaviour | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> PeerSimulator:
        """Start a peer that listens at an address of this machine."""
        simulator = PeerSimulator(content, behaviour or Behaviour())
        self._servers.append(self.run(simulator.listen(host, port)))
        return simulator

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Start a coroutine that runs until it ends or the network closes."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Awaitable[Result]) -> Result:
        """Await something on the loop and return its result."""

        async def wrapped() -> Result:
            return await work

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(30)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def message(number: int, body: bytes = b"") -> bytes:
    """Return a message with its length prefix."""
    return struct.pack("!IB", len(body) + 1, number) + body


def addresses(first: int = 2) -> Iterator[str]:
    """Yield addresses of this machine, a new one each time."""
    for number in range(first, 1 << 16):
        yield f"127.0.{number >> 8}.{number & 255}"


def _compact(endpoint: Endpoint) -> bytes:
    return bytes(map(int, endpoint.host.split("."))) + endpoint.port.to_bytes(2, "big")
