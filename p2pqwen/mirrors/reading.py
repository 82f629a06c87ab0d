"""Read a file from a mirror we do not trust: bounded in bytes, time and redirects, never led into a private network.

What may be asked is the guard's to say, at every redirect anew: a private address only if the user named its host (see
`values.named_hosts`). Bytes are taken as they are: no content encoding, so nothing unpacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.mirrors.location import is_web
from p2pqwen.portable.files import open_plain
from p2pqwen.values.named_hosts import NamedHosts

_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,250}"', re.ASCII)
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a mirror may take, in seconds, and how slow it may be, in bytes a second after the first `answer`.

    `steady`: a file whose size is told has as long as it takes at this many bytes a second, where that is longer than
    `total`; `LONGEST` at most. One that comes slower than `slowest` is cut off all the same. None: `total` holds.
    `begun` is then told for how many seconds the file may come.
    `announced` is told how many bytes the server says that a whole file has, None where it does not say.
    """

    answer: float = 10.0
    total: float = 120.0
    slowest: int = 32 * 1024
    steady: int | None = None
    begun: Callable[[float], object] = lambda _: None
    announced: Callable[[int | None], object] = lambda _: None

    def for_size(self, size: int | None) -> float:
        """Return the seconds that a file of `size` bytes may take, None where the size is not known."""
        if size is None or self.steady is None:
            return self.total
        return max(self.total, min(size / self.steady, LONGEST))


LONGEST = 3600.0
"""Seconds for the largest file on the slowest line: a node's next round begins then."""
TIMEOUTS = Timeouts()


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
        """Return the headers that ask for the file only if it has changed."""
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

    `named` are the private hosts that the user named; `allow` is asked whether as many more bytes as it is given may be
    taken from the network.

    Raises `NotFoundError`, `NetworkError` (unreachable, slow, too many redirects, not to be asked), `DiskError`,
    `FormatError` (larger than `max_bytes`, or an answer in a content encoding).
    """
    if not is_web(location):
        import asyncio  # noqa: PLC0415 - who awaits this has it already

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

    Nothing comes where the server says that the file is the one `unless` stands for. With `first`, only the first
    `first` bytes are asked for and taken. Raises what `read` does.
    """
    from p2pqwen.mirrors.web_reading import read_web  # noqa: PLC0415 - brings aiohttp, which a file does without

    return await read_web(location, take, max_bytes, named, timeouts, allow, unless, first)


def read_now(location: str, *, max_bytes: int, named: NamedHosts, timeouts: Timeouts = TIMEOUTS) -> bytes:
    """Do what `read` does, for callers that are not asynchronous."""
    if not is_web(location):
        return _read_file(Path(location), max_bytes)
    from p2pqwen.loop_thread import run_now  # noqa: PLC0415 - brings asyncio

    return run_now(read(location, max_bytes=max_bytes, named=named, timeouts=timeouts))


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        with open_plain(path) as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path}") from error
    except OSError as error:
        raise DiskError(f"cannot read {path}", got=error.strerror or str(error)) from error
    if len(data) > max_bytes:
        raise FormatError(f"file {path} is too large", expected=f"at most {max_bytes} bytes")
    return data
