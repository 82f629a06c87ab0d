"""Read a file from an untrusted mirror, with limits on bytes, time and redirects, and no way into a private network.

The guard checks the URL and every redirect: a private address is allowed only if the user named its host (see
`values.named_hosts`). Content encodings are refused, so nothing is decompressed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.mirrors.location import is_web
from p2pqwen.values.named_hosts import NamedHosts

_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,250}"', re.ASCII)
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a mirror may take, in seconds, and how slow it may be after the first `answer` seconds, in bytes/s.

    `steady`: if the server announces a file's size, the file may take `size / steady` seconds, if that is longer than
    `total`, and at most `LONGEST`. `begun` then gets that number of seconds. `slowest` still applies. None: `total`
    applies. `announced` gets the file's size by the server, None if it does not say.
    """

    answer: float = 10.0
    total: float = 120.0
    slowest: int = 32 * 1024
    steady: int | None = None
    begun: Callable[[float], object] = lambda _: None
    announced: Callable[[int | None], object] = lambda _: None

    def for_size(self, size: int | None) -> float:
        """Return the seconds that a file of `size` bytes (None: unknown) may take."""
        if size is None or self.steady is None:
            return self.total
        return max(self.total, min(size / self.steady, LONGEST))


LONGEST = 3600.0
"""The most seconds for any file: a node's next round begins then."""
TIMEOUTS = Timeouts()


Allow = Callable[[int], bool]


def always(_bytes: int) -> bool:
    """Allow any number of bytes."""
    return True


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server sent with a file so that it can say later that the file is unchanged (RFC 9110, section 8.8)."""

    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """Take the well-formed validators from an answer."""
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
    """The result of a request: `unchanged`, or the new validators. `whole`: the entire file was read."""

    unchanged: bool = False
    validators: Validators = NO_VALIDATORS
    whole: bool = True


async def read(
    location: str, *, max_bytes: int, named: NamedHosts, timeouts: Timeouts = TIMEOUTS, allow: Allow = always
) -> bytes:
    """Return a file's bytes from a path or URL.

    `named` are the private hosts that the user named. `allow(n)` tells whether another `n` bytes may be taken from the
    network.

    Raises `NotFoundError`, `NetworkError` (unreachable, slow, too many redirects, forbidden), `DiskError`, and
    `FormatError` (larger than `max_bytes`, or an answer in a content encoding).
    """
    if not is_web(location):
        import asyncio  # noqa: PLC0415 - callers that await this have imported it

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
    """Pass a file's bytes from a URL to `take` as they arrive.

    Nothing is passed if the server says that the file still matches `unless`. With `first`, only the first `first`
    bytes are requested and taken. Raises what `read` does.
    """
    from p2pqwen.mirrors.web_reading import read_web  # noqa: PLC0415 - imports aiohttp, which a file does not need

    return await read_web(location, take, max_bytes, named, timeouts, allow, unless, first)


def read_now(location: str, *, max_bytes: int, named: NamedHosts, timeouts: Timeouts = TIMEOUTS) -> bytes:
    """Do what `read` does, for synchronous callers."""
    if not is_web(location):
        return _read_file(Path(location), max_bytes)
    from p2pqwen.loop_thread import run_now  # noqa: PLC0415 - imports asyncio

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
