"""Read a file from a mirror we do not trust: bounded in bytes, time and redirects, never led into a private network.

A public host may not lead to a private address, by redirect or by name resolution (the address that is checked is
the one connected to). Whoever names a private address or a local name means it. Bytes are taken as they are: no content
encoding, so nothing unpacks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from p2pqwen import __version__
from p2pqwen.errors import DiskError, FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.mirrors.location import is_web
from p2pqwen.tls_error import tls_words

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16
_WHOLE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII)  # RFC 3986
# RFC 6761, RFC 6762, RFC 8375, and what routers for homes hand out; none of them is in the public DNS.
_LOCAL_SUFFIXES = (".localhost", ".local", ".home.arpa", ".internal", ".lan")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a mirror may take, in seconds, and how slow it may be, in bytes a second after the first `answer`."""

    answer: float = 10.0
    total: float = 120.0
    slowest: int = 32 * 1024


PATIENCE = Patience()


async def read(location: str, *, max_bytes: int, patience: Patience = PATIENCE) -> bytes:
    """Return a file's bytes from a path or URL.

    Raises `NotFoundError`, `NetworkError` (unreachable, slow, too many redirects), `DiskError`,
    `FormatError` (larger than `max_bytes`, or an answer in a content encoding).
    """
    if not is_web(location):
        return await asyncio.to_thread(_read_file, Path(location), max_bytes)
    try:
        async with asyncio.timeout(patience.total):
            return await _read_web(_url(location), max_bytes, patience)
    except TimeoutError as error:
        raise NetworkError(f"{location} is too slow", expected=f"an answer within {patience.total:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NetworkError(f"cannot reach {location}", got=_reason(error)) from error


def read_now(location: str, *, max_bytes: int, patience: Patience = PATIENCE) -> bytes:
    """Do what `read` does, for callers without an event loop."""
    return asyncio.run(read(location, max_bytes=max_bytes, patience=patience))


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DiskError(f"{path} is not a plain file")
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path}") from error
    except OSError as error:
        raise DiskError(f"cannot read {path}", got=error.strerror or str(error)) from error
    if len(data) > max_bytes:
        raise FormatError(f"file {path} is too large", expected=f"at most {max_bytes} bytes")
    return data


def _url(location: str) -> URL:
    """Read a URL; one that is whole already is sent as it stands: trackers do not read what `yarl` makes of `%24`."""
    return URL(location, encoded=_WHOLE.fullmatch(location) is not None)


async def _read_web(url: URL, max_bytes: int, patience: Patience) -> bytes:
    async with _Client(patience, private_allowed=_is_private(url)) as client:
        for _ in range(MAX_REDIRECTS + 1):
            _check_url(url, private_allowed=client.private_allowed)
            async with client.session.get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _body(response, max_bytes, patience)
                url = url.join(URL(response.headers.get("Location", "")))
    raise NetworkError(f"{url} redirects too often", expected=f"at most {MAX_REDIRECTS} times")


async def _body(response: aiohttp.ClientResponse, max_bytes: int, patience: Patience) -> bytes:
    if response.status in {404, 410}:
        raise NotFoundError(f"no file {response.url}", got=f"HTTP {response.status}")
    if response.status != 200:
        raise NetworkError(f"{response.url} gave no file", expected="HTTP 200", got=f"HTTP {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FormatError(f"{response.url} answered in a content encoding", expected="plain bytes")
    if (response.content_length or 0) > max_bytes:
        raise FormatError(f"{response.url} is too large", expected=f"at most {max_bytes} bytes")
    body = bytearray()
    clock = asyncio.get_running_loop().time
    started = clock()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > max_bytes:
            raise FormatError(f"{response.url} is too large", expected=f"at most {max_bytes} bytes")
        elapsed = clock() - started
        if elapsed > patience.answer and len(body) < patience.slowest * (elapsed - patience.answer):
            raise NetworkError(f"{response.url} is too slow", expected=f"at least {patience.slowest} bytes a second")
    return bytes(body)


class _Client:
    """One HTTP session that connects only where it may."""

    def __init__(self, patience: Patience, *, private_allowed: bool) -> None:
        self.private_allowed = private_allowed
        connector = aiohttp.TCPConnector(resolver=_Resolver(private_allowed=private_allowed), force_close=True)
        self.session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": f"p2pqwen/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.answer, sock_read=patience.answer),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()


class _Resolver(AbstractResolver):
    """Name resolution that leaves out private addresses where they are not allowed."""

    def __init__(self, *, private_allowed: bool) -> None:
        self._inner = ThreadedResolver()
        self._private_allowed = private_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not self._private_allowed:
            found = [one for one in found if ipaddress.ip_address(one["host"]).is_global]
        if not found:
            raise OSError(f"{host} has no address that may be asked")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _check_url(url: URL, *, private_allowed: bool) -> None:
    if url.scheme not in {"http", "https"} or not url.host or url.user is not None or url.password is not None:
        raise NetworkError("a mirror redirects to something that is no plain web address", got=repr(str(url))[:200])
    if (address := _literal_address(url)) is not None and not private_allowed and not address.is_global:
        raise NetworkError("a mirror redirects into a private network", got=url.host)


def _is_private(url: URL) -> bool:
    """Tell whether whoever named the address can only have meant a private one.

    Decided by its text: a public name whose owner points it at a private address earns nothing by that.
    """
    if (address := _literal_address(url)) is not None:
        return not address.is_global
    host = (url.host or "").lower()
    return "." not in host or host.endswith(_LOCAL_SUFFIXES)


def _literal_address(url: URL) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(url.host or "")
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, P2pqwenError):
        return error.message
    return tls_words(error) or str(error) or type(error).__name__
