"""Read a file from a mirror over HTTP: the part of `reading` that deals with URLs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.mirrors.reading import Allow, Came, Timeouts, Validators
from p2pqwen.net.web_session import WebSession
from p2pqwen.tls_error import tls_words
from p2pqwen.values.named_hosts import Guard, NamedHosts

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16
_WHOLE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII)  # RFC 3986


@dataclass(slots=True)
class _Pace:
    """The `seconds` that one file may take; a large announced size extends them."""

    timeouts: Timeouts
    limit: asyncio.Timeout
    seconds: float

    def announced(self, size: int | None) -> None:
        self.timeouts.announced(size)
        self.seconds = self.timeouts.for_size(size)
        if self.seconds > self.timeouts.total:
            self.limit.reschedule(asyncio.get_running_loop().time() + self.seconds)
            self.timeouts.begun(self.seconds)


async def read_web(
    location: str,
    take: Callable[[bytes], object],
    max_bytes: int,
    named: NamedHosts,
    timeouts: Timeouts,
    allow: Allow,
    unless: Validators,
    first: int | None,
) -> Came:
    """Do what `reading.read_into` does."""
    asked = {**unless.headers(), **({} if first is None else {"Range": f"bytes=0-{first - 1}"})}
    pace = _Pace(timeouts, asyncio.timeout(timeouts.total), timeouts.total)
    try:
        async with pace.limit:
            return await _read_web(_url(location), take, max_bytes, Guard(named), pace, allow, asked, first)
    except TimeoutError as error:
        raise NetworkError(f"{location} is too slow", expected=f"an answer within {pace.seconds:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NetworkError(f"cannot reach {location}", got=_reason(error)) from error


def _url(location: str) -> URL:
    """Parse a URL; one that is fully encoded stays unchanged: trackers do not accept yarl's form of `%24`."""
    return URL(location, encoded=_WHOLE.fullmatch(location) is not None)


async def _read_web(
    url: URL,
    take: Callable[[bytes], object],
    max_bytes: int,
    guard: Guard,
    pace: _Pace,
    allow: Allow,
    asked: Mapping[str, str],
    first: int | None,
) -> Came:
    timeouts = pace.timeouts
    async with WebSession(
        guard, connect_timeout=timeouts.answer, read_timeout=timeouts.answer, keep_alive=False
    ) as session:
        for _ in range(MAX_REDIRECTS + 1):
            async with await session.get(url, headers=asked) as response:
                if response.status == 304 and not {"If-None-Match", "If-Modified-Since"}.isdisjoint(asked):
                    return Came(unchanged=True)
                if response.status not in _REDIRECTS:
                    if response.status == 200 and first is None:
                        pace.announced(response.content_length)
                    whole = await _body(response, take, max_bytes, timeouts, allow, first)
                    return Came(validators=Validators.of(response.headers), whole=whole)
                url = url.join(URL(response.headers.get("Location", "")))
    raise NetworkError(f"{url} redirects too often", expected=f"at most {MAX_REDIRECTS} times")


async def _body(
    response: aiohttp.ClientResponse,
    take: Callable[[bytes], object],
    max_bytes: int,
    timeouts: Timeouts,
    allow: Allow,
    first: int | None,
) -> bool:
    """Read an answer's body; tell whether it was the whole file, not only its `first` bytes."""
    if response.status in {404, 410}:
        raise NotFoundError(f"no file {response.url}", got=f"HTTP {response.status}")
    if response.status != 200 and not (response.status == 206 and first is not None):
        raise NetworkError(f"{response.url} returned no file", expected="HTTP 200", got=f"HTTP {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FormatError(f"{response.url} answered in a content encoding", expected="plain bytes")
    if (response.content_length or 0) > max_bytes:
        raise FormatError(f"{response.url} is too large", expected=f"at most {max_bytes} bytes")
    taken = 0
    clock = asyncio.get_running_loop().time
    started = clock()
    async for chunk in response.content.iter_chunked(_CHUNK):
        taken += len(chunk)
        if taken > max_bytes:
            raise FormatError(f"{response.url} is too large", expected=f"at most {max_bytes} bytes")
        if not allow(len(chunk)):
            raise NetworkError(f"{response.url} sends more than there is room for")
        take(chunk)
        elapsed = clock() - started
        if elapsed > timeouts.answer and taken < timeouts.slowest * (elapsed - timeouts.answer):
            raise NetworkError(f"{response.url} is too slow", expected=f"at least {timeouts.slowest} bytes a second")
        if first is not None and taken >= first:
            response.close()  # a server without range support would send all of it
            return False
    return response.status == 200


def _reason(error: Exception) -> str:
    if isinstance(error, P2pqwenError):
        return error.message
    if (said := tls_words(error)) is not None:
        return said
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        number, words = error.os_error.errno, str(error.os_error.strerror)
        # asyncio's message repeats the address; only that of a proxy or a failed look-up says something new
        return os.strerror(number) if number and number > 0 and words.startswith("Connect call failed") else words
    return str(error) or type(error).__name__
