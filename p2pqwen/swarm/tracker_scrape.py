"""Tracker scrapes: the seeds and other peers of many torrents in one request, over UDP (BEP 15) and HTTP (BEP 48).

Another module makes the HTTP request; this one builds its URL and parses the answer. A UDP answer is accepted only from
the address that was asked, with the transaction id made up for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit

import libtorrent as lt

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.swarm.dht import resolve_all
from p2pqwen.swarm.endpoint import Endpoint, is_private
from p2pqwen.values.digest import Sha1
from p2pqwen.values.named_hosts import NONE_NAMED, Guard, NamedHosts

MAX_AT_ONCE = 70
"""Torrents in one request; BEP 15 allows about 74."""
MAX_ANSWER = 64 << 10
MAX_COUNT = 10_000_000
TRIES = (2.0, 4.0)
"""Seconds to wait in each attempt over UDP."""
_PROTOCOL = 0x41727101980
_CONNECT, _SCRAPE, _ERROR = 0, 2, 3


@dataclass(frozen=True, slots=True)
class Scraped:
    """A tracker's counts for one torrent; `peers` includes seeds."""

    seeds: int
    peers: int


NOBODY = Scraped(0, 0)


def scrape_url(announce: str, torrents: Sequence[Sha1]) -> str | None:
    """Return the URL at which an HTTP tracker answers scrapes (BEP 48); None if its announce URL does not show one.

    None as well for a private address with a query: that could make a machine at home do anything.
    """
    parts = urlsplit(announce)
    folder, slash, last = parts.path.rpartition("/")
    if parts.scheme not in {"http", "https"} or not last.startswith("announce"):
        return None
    if parts.query and is_private(parts.hostname or ""):
        return None
    wanted = "&".join(f"info_hash={quote_from_bytes(one.raw, safe='')}" for one in torrents)
    query = f"{parts.query}&{wanted}" if parts.query else wanted
    return parts._replace(path=f"{folder}{slash}scrape{last.removeprefix('announce')}", query=query).geturl()


def parse_scrape(data: bytes) -> dict[Sha1, Scraped]:
    """Parse an HTTP tracker's answer; raises `FormatError`."""
    try:
        # Trackers write their keys in any order, which our own parser refuses.
        answer: Any = lt.bdecode(data[:MAX_ANSWER])
    except RuntimeError as error:
        raise FormatError("a scrape's answer is not bencoded", got=str(error)) from error
    if not isinstance(answer, dict):
        raise FormatError("a scrape's answer is no dictionary")
    if isinstance(reason := answer.get(b"failure reason"), bytes):
        raise FormatError("the tracker refuses", got=reason[:200].decode(errors="replace"))
    files = answer.get(b"files")
    if not isinstance(files, dict):
        raise FormatError("a scrape's answer names no torrents")
    found = {}
    for name, row in files.items():
        if isinstance(name, bytes) and len(name) == Sha1.SIZE and isinstance(row, dict):
            found[Sha1(name)] = _scraped(row.get(b"complete"), row.get(b"incomplete"))
    return found


async def scrape_udp(tracker: str, torrents: Sequence[Sha1], *, named: NamedHosts = NONE_NAMED) -> dict[Sha1, Scraped]:
    """Ask a UDP tracker about at most `MAX_AT_ONCE` torrents; raises `NetworkError`, `FormatError`.

    A name that leads to a private address is not followed, unless the user `named` it.
    """
    parts = urlsplit(tracker)
    if parts.scheme != "udp" or not parts.hostname or not parts.port:
        raise FormatError("not a UDP tracker", got=tracker[:200])
    where = await _address(parts.hostname, parts.port, Guard(named))
    loop = asyncio.get_running_loop()
    try:
        transport, conversation = await loop.create_datagram_endpoint(
            _Conversation, remote_addr=(where.host, where.port)
        )
    except OSError as error:
        raise NetworkError(f"cannot ask {tracker}", got=error.strerror or str(error)) from error
    try:
        answer = await conversation.ask(transport, struct.pack(">q", _PROTOCOL), _CONNECT)
        if len(answer) < 8:
            raise FormatError("the tracker's answer is too short")
        wanted = torrents[:MAX_AT_ONCE]
        rows = await conversation.ask(transport, answer[:8], _SCRAPE, b"".join(one.raw for one in wanted))
        return {
            one: _scraped(seeds, others)
            for one, (seeds, _, others) in zip(
                wanted, struct.iter_unpack(">3I", rows[: len(rows) // 12 * 12]), strict=False
            )
        }
    finally:
        transport.close()


async def _address(host: str, port: int, guard: Guard) -> Endpoint:
    checked = guard.check_host(host)
    found = await resolve_all([Endpoint(checked.name, port)])
    allowed = guard.check_addresses(checked, [one.host for one in found])
    return Endpoint(min(allowed, key=lambda one: ":" in one), port)  # IPv4 first: every machine has it


class _Conversation(asyncio.DatagramProtocol):
    """One tracker's socket, connected to it, so that the system drops datagrams from anywhere else."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def error_received(self, exc: Exception) -> None:
        for one in self._waiting.values():
            if not one.done():
                one.set_exception(NetworkError("the tracker cannot be reached", got=str(exc)))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        del addr
        waiting = self._waiting.get(data[4:8])
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    async def ask(self, transport: asyncio.DatagramTransport, before: bytes, action: int, after: bytes = b"") -> bytes:
        """Send connection id, action, transaction and arguments; return the answer without its header."""
        for seconds in TRIES:
            transaction = secrets.token_bytes(4)
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting[transaction] = answer
            transport.sendto(before + struct.pack(">I", action) + transaction + after)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        return _body(await answer, action)
            finally:
                del self._waiting[transaction]
        raise NetworkError("the tracker does not answer")


def _body(data: bytes, action: int) -> bytes:
    (kind,) = struct.unpack_from(">I", data)
    if kind == _ERROR:
        raise FormatError("the tracker refuses", got=data[8:208].decode(errors="replace"))
    if kind != action:
        raise FormatError("the tracker answers something else", got=kind)
    return data[8:]


def _scraped(seeds: object, others: object) -> Scraped:
    counts = [min(MAX_COUNT, max(0, one)) if isinstance(one, int) else 0 for one in (seeds, others)]
    return Scraped(counts[0], sum(counts))
