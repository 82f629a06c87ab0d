"""Read a file from a mirror we do not trust: bounded in bytes, time and redirects, never led into a private network.

What may be asked is the guard's to say, at every redirect anew: a private address only if the user named its host (see
`values.named_hosts`). Bytes are taken as they are: no content encoding, so nothing unpacks.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from p2pqwen.errors import DiskError, FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.location import is_web
from p2pqwen.net.web_session import WebSession
from p2pqwen.tls_error import tls_words
from p2pqwen.values.named_hosts import Guard, NamedHosts

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,250}"', re.ASCII)
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,40}", re.ASCII)
_WHOLE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", re.ASCII)  # RFC 3986


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a mirror may take, in seconds, and how slow it may be, in bytes a second after the first `answer`.

    `steady`: a file that says how large it is has as long as it takes at so many bytes a second, where that is longer
    than `total`; `LONGEST` at most. It is cut off all the same where it comes slower than `slowest`. None: it has not.
    `begun` is then told for how many seconds the file may come.
    """

    answer: float = 10.0
    total: float = 120.0
    slowest: int = 32 * 1024
    steady: int | None = None
    begun: Callable[[float], object] = lambda _: None

    def for_size(self, size: int | None) -> float:
        """Return the seconds that a file of so many bytes may take."""
        if size is None or self.steady is None:
            return self.total
        return max(self.total, min(size / self.steady, LONGEST))


LONGEST = 3600.0
"""Seconds for the largest file on the slowest line: a node's next round begins then."""
TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class _Pace:
    """The time that one file may take, which its size may prolong once it is announced."""

    timeouts: Timeouts
    limit: asyncio.Timeout

    def announced(self, size: int | None) -> None:
        seconds = self.timeouts.for_size(size)
        if seconds > self.timeouts.total:
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)
            self.timeouts.begun(seconds)


Allow = Callable[[int], bool]


def always(_bytes: int) -> bool:
    """Allow whatever comes."""
    return True


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave with a file, by which it can say later that the file is still that one (RFC 9110)."""

    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """Take them from an answer, as far as they are fit to be sent again."""
        etag, modified = headers.get("ETag"), headers.get("Last-Modified")
        return cls(
            etag if etag and _ETAG.fullmatch(etag) else None,
            modified if modified and _DATE.fullmatch(modified) else None,
        )

    def headers(self) -> dict[str, str]:
        """Return what asks for the file only if it is another one."""
        if self.etag is not None:
            return {"If-None-Match": self.etag}
        return {} if self.modified is None else {"If-Modified-Since": self.modified}

    def __bool__(self) -> bool:
        return self != Validators()


NO_VALIDATORS = Validators()


@dataclass(frozen=True, slots=True)
class Came:
    """What came of asking for a file: `unchanged`, and then nothing else; whether all of it was asked for and came."""

    unchanged: bool = False
    validators: Validators = NO_VALIDATORS
    whole: bool = True


async def read(
    location: str, *, max_bytes: int, named: NamedHosts, timeouts: Timeouts = TIMEOUTS, allow: Allow = always
) -> bytes:
    """Return a file's bytes from a path or URL.

    `named` are the private hosts that the user named; `allow` is asked whether so many more bytes may be taken from the
    network.

    Raises `NotFoundError`, `NetworkError` (unreachable, slow, too many redirects, not to be asked), `DiskError`,
    `FormatError` (larger than `max_bytes`, or an answer in a content encoding).
    """
    if not is_web(location):
        return await asyncio.to_thread(_read_file, Path(location), max_bytes)
    body = bytearray()
    await read_into(body.extend, location, max_bytes=max_bytes, named=named, timeouts=timeouts, allow=allow)
    return bytes(body)


async def read_into(
    take: Callable[[bytes], object],
    location: str,
    *,
    max_bytes: int,
    named: NamedHosts,
    timeouts: Timeouts = TIMEOUTS,
    allow: Allow = always,
    unless: Validators = Validators(),
    first: int | None = None,
) -> Came:
    """Give a file's bytes from a URL to `take` as they come.

    Nothing comes where the server says that the file is the one `unless` stands for. With `first` no more than so many
    bytes are asked for and taken. Raises what `read` does.
    """
    asked = {**unless.headers(), **({} if first is None else {"Range": f"bytes=0-{first - 1}"})}
    try:
        async with asyncio.timeout(timeouts.total) as limit:
            pace = _Pace(timeouts, limit)
            return await _read_web(_url(location), take, max_bytes, Guard(named), pace, allow, asked, first)
    except TimeoutError as error:
        raise NetworkError(f"{location} is too slow", expected=f"an answer within {timeouts.total:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NetworkError(f"cannot reach {location}", got=_reason(error)) from error


def read_now(location: str, *, max_bytes: int, named: NamedHosts, timeouts: Timeouts = TIMEOUTS) -> bytes:
    """Do what `read` does, for callers that are not asynchronous."""
    return run_now(read(location, max_bytes=max_bytes, named=named, timeouts=timeouts))


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
    """Take an answer's body; tell whether all of the file came, and not only its `first` bytes."""
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
            response.close()  # a server that gives no part of a file would send all of it
            return False
    return response.status == 200


def _reason(error: Exception) -> str:
    if isinstance(error, P2pqwenError):
        return error.message
    if (said := tls_words(error)) is not None:
        return said
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        number, words = error.os_error.errno, str(error.os_error.strerror)
        # asyncio's words repeat the address; those of a proxy or a failed look-up say what nobody else does
        return os.strerror(number) if number and number > 0 and words.startswith("Connect call failed") else words
    return str(error) or type(error).__name__
