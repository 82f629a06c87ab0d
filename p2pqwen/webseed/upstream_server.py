"""One base URL as a source of bytes: follows and remembers its redirects, and keeps its pauses.

A redirect's target is remembered for each file until shortly before it expires, and renewed early if it is refused.
While one request resolves it, the others for that file wait, so the base is asked once for each file and lifetime. The
origin's token goes only to the origin's own scheme, host and port, whatever redirects say.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from p2pqwen.errors import UsageError
from p2pqwen.net.socks5 import SocksError
from p2pqwen.net.web_session import WebSession
from p2pqwen.tls_error import tls_words
from p2pqwen.values.http_date import parse_http_date
from p2pqwen.values.named_hosts import NONE_NAMED, Guard, NamedHosts, RefusedAddressError
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.values.rate_limit import quota_pause
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.webseed.bases import Base, NamedBy
from p2pqwen.webseed.body import Body
from p2pqwen.webseed.fault import Backoff, Kind, UpstreamError
from p2pqwen.webseed.http_answer import REDIRECTS, Wanted, read_answer
from p2pqwen.webseed.source_stats import Account
from p2pqwen.webseed.timeouts import Timeouts
from p2pqwen.webseed.url_expiry import lifetime

MAX_REDIRECTS = 8
MAX_HEADER = 32 * 1024  # signed URLs run to 2 kB and more
MAX_CONNECTIONS = 8
_MAX_MARGIN = 60.0
_DRAIN = 16 * 1024
_READ_BUFFER = 512 * 1024
_CLOCK_SKEW = timedelta(seconds=5)
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN})


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that an upstream should have."""

    path: RepoPath
    size: int


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a file's bytes are, until the monotonic time `renew_at`; `direct` if that is the base's own URL."""

    url: str
    renew_at: float
    direct: bool


class UpstreamServer:
    """One base for one torrent. Use from one event loop, and `close` it there.

    Private hosts are asked only if the user named them: as this base, as the origin's `site`, or as one of `named`.
    """

    def __init__(
        self,
        base: Base,
        *,
        site: OriginAccess | None = None,
        named: NamedHosts = NONE_NAMED,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base = base
        self.account = Account(str(base), base.named_by.value)
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._site = site
        origin = _origin(base.expanded)
        self._is_site = site is not None and _origin(site.endpoint) == origin
        self._guard = Guard(
            named | _hosts_named_by(base) | NamedHosts.configured([site.endpoint] if site is not None else [])
        )
        self._session: WebSession | None = None
        self._targets: dict[RepoPath, _Target] = {}
        self._resolving: dict[RepoPath, asyncio.Lock] = {}
        self._hosts: dict[str, Backoff] = {}
        self._files: dict[RepoPath, Backoff] = {}

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def backoff(self, file: RemoteFile) -> Backoff:
        """Return the backoff of this file here."""
        return self._files.setdefault(file.path, Backoff(self._timeouts.pace))

    def ready_at(self, file: RemoteFile) -> float:
        """Return the monotonic time from which this file may be requested."""
        return max(self.backoff(file).not_before, self._host_backoff(self._next_url(file)).not_before)

    def is_hopeless(self, file: RemoteFile) -> bool:
        """Tell whether this upstream cannot be expected to give this file."""
        return self.backoff(file).hopeless or self._host_backoff(self._next_url(file)).hopeless

    @property
    def asked_until(self) -> float:
        """The monotonic time until which one of its hosts asked us to wait; in the past if none did."""
        return max((host.asked_until for host in self._hosts.values()), default=0.0)

    def last_reason(self, file: RemoteFile) -> str | None:
        """Return the last fault with this file, if there was one."""
        fault = self.backoff(file).last or self._host_backoff(self._next_url(file)).last
        return fault.reason if fault else None

    def redirects(self, file: RemoteFile) -> bool:
        """Tell whether this file was last found behind a redirect."""
        target = self._targets.get(file.path)
        return target is not None and not target.direct

    def failed(self, file: RemoteFile, fault: UpstreamError) -> None:
        """Record a fault, and pause the file or the host for a while."""
        now = self._clock()
        backoff = self._host_backoff_by_name(fault.host) if fault.of_host else self.backoff(file)
        backoff.failed(fault, now)
        self.account.faults[fault.kind.value] += 1
        self.account.last_fault = f"{file.path}: {fault.reason}"
        if fault.kind in {Kind.WRONG, Kind.UNFIT}:
            self._targets.pop(file.path, None)

    def worked(self, file: RemoteFile) -> None:
        """Record that a good piece of this file came from here."""
        self.backoff(file).worked()

    async def open(self, file: RemoteFile, start: int, stop: int, *, skip_any: bool = False) -> Body:
        """Request the bytes `start` to `stop`; raises `UpstreamError`. The body may end before `stop`."""
        try:
            return await self._open(file, start, stop, skip_any=skip_any)
        except UpstreamError:
            raise
        except Exception as error:  # whatever an answer causes, the other upstreams are still asked
            raise UpstreamError(Kind.UNFIT, f"an unintelligible answer: {type(error).__name__}") from error

    async def _open(self, file: RemoteFile, start: int, stop: int, *, skip_any: bool) -> Body:
        wanted = Wanted(file.path.text, file.size, start, stop, skip_any)
        if (target := self._fresh_target(file)) is not None:
            try:
                return await self._fetch(file, wanted, target)
            except UpstreamError as fault:
                if target.direct or fault.kind not in {Kind.REFUSED, Kind.ABSENT}:
                    raise
            if self._targets.get(file.path) == target:
                del self._targets[file.path]  # refused before it expired
        async with self._resolving.setdefault(file.path, asyncio.Lock()):
            target = self._fresh_target(file)
            if target is None:
                self.account.resolves += 1
                return await self._fetch(file, wanted, _Target(self.base.file_url(file.path), math.inf, direct=True))
        return await self._fetch(file, wanted, target)

    def _fresh_target(self, file: RemoteFile) -> _Target | None:
        target = self._targets.get(file.path)
        return target if target is not None and self._clock() < target.renew_at else None

    def _next_url(self, file: RemoteFile) -> str:
        target = self._fresh_target(file)
        return target.url if target else self.base.file_url(file.path)

    async def _fetch(self, file: RemoteFile, wanted: Wanted, target: _Target) -> Body:
        seen = {target.url}
        while True:
            host = _origin(target.url)
            response = await self._get(target.url, wanted)
            if response.status not in REDIRECTS:
                return self._accept(file, wanted, target, response)
            target = self._redirected(target, response)
            await _finish(response)
            if target.url in seen or len(seen) > MAX_REDIRECTS:
                raise UpstreamError(Kind.UNFIT, "redirects in a circle or too many", host=host)
            seen.add(target.url)
            self._targets[file.path] = target

    def _accept(self, file: RemoteFile, wanted: Wanted, target: _Target, response: aiohttp.ClientResponse) -> Body:
        try:
            part = read_answer(wanted, response.status, response.headers, now=datetime.now(UTC))
        except UpstreamError as fault:
            fault.host = _origin(target.url)
            response.close()
            raise
        self._targets[file.path] = target
        return Body(response, part, wanted, self._timeouts, self.account, self._clock)

    def _redirected(self, target: _Target, response: aiohttp.ClientResponse) -> _Target:
        location = response.headers.get("Location", "")
        with contextlib.suppress(ValueError):  # brackets around something other than an IPv6 address
            location = urljoin(target.url, location) if location else ""
        url = location
        if not location or not _is_web(url):
            raise UpstreamError(Kind.UNFIT, "a redirect to an address that is not contacted", host=_origin(target.url))
        try:
            self._guard.check_url(url)
        except RefusedAddressError as error:
            raise UpstreamError(Kind.REFUSED, f"a redirect: {error.message}", host=_origin(target.url)) from error
        now, served = datetime.now(UTC), parse_http_date(response.headers.get("Date", ""))
        if served is not None and abs(served - now) > _CLOCK_SKEW:
            now = served  # one of the clocks is wrong; the server's made the signature
        seconds = lifetime(url, now=now, cache_control=response.headers.get("Cache-Control", ""))
        renew_at = self._clock() + seconds - min(seconds * 0.1, _MAX_MARGIN) if seconds else math.inf
        return _Target(url, min(renew_at, target.renew_at), direct=False)

    async def _get(self, url: str, wanted: Wanted) -> aiohttp.ClientResponse:
        origin = _origin(url)
        if (wait := self._host_backoff_by_name(origin).not_before - self._clock()) > 0:
            raise UpstreamError(Kind.BUSY, "asked us to wait", host=origin, wait=wait)
        headers = {"Range": f"bytes={wanted.start}-{wanted.stop - 1}"} if wanted.start < wanted.stop else {}
        if self._is_site and self._site is not None and self._site.token and origin == _origin(self._site.endpoint):
            headers["Authorization"] = f"Bearer {self._site.token}"
        self.account.requests += 1
        try:
            response = await self._open_session().get(URL(url, encoded=True), headers=headers)
        except (RefusedAddressError, UsageError) as error:  # `UsageError`: a proxy variable that names no proxy
            raise UpstreamError(Kind.REFUSED, error.message, host=origin) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _connection_fault(error, origin) from error
        host = self._host_backoff_by_name(origin)
        if response.status not in {429, 503}:
            host.worked()
        if pause := quota_pause(response.headers):
            host.hold(pause, self._clock())
        return response

    def _open_session(self) -> WebSession:
        if self._session is None:
            self._session = WebSession(
                self._guard,
                connect_timeout=self._timeouts.connect,
                read_timeout=self._timeouts.silence,
                max_connections=MAX_CONNECTIONS,
                read_buffer=_READ_BUFFER,
                max_header=MAX_HEADER,
            )
        return self._session

    def _host_backoff(self, url: str) -> Backoff:
        return self._host_backoff_by_name(_origin(url))

    def _host_backoff_by_name(self, origin: str) -> Backoff:
        return self._hosts.setdefault(origin, Backoff(self._timeouts.pace))


def _hosts_named_by(base: Base) -> NamedHosts:
    match base.named_by:
        case NamedBy.CONFIG:
            return NamedHosts.configured([base.expanded])
        case NamedBy.COMMAND_LINE:
            return NamedHosts.of([base.expanded])
        case _:
            return NONE_NAMED


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _is_web(url: str) -> bool:
    """Tell whether a URL is an http or https one, without a user name."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and "@" not in parts.netloc and port != 0


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read a redirect's short body, so that its connection can be reused."""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        if (response.content_length or 0) <= _DRAIN and response.content_length is not None:
            await response.content.read(_DRAIN)
    response.release()


def _connection_fault(error: Exception, origin: str) -> UpstreamError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if (said := tls_words(error)) is not None:
        return UpstreamError(Kind.UNREACHABLE, f"cannot be reached: {said}", host=origin)
    if isinstance(error, aiohttp.ServerTimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamError(Kind.SILENT, "no answer", host=origin)
    if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _NO_NETWORK):
        return UpstreamError(Kind.NO_WAY, f"cannot be reached: {_words(cause)}", host=origin)
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return UpstreamError(Kind.UNREACHABLE, f"cannot be reached: {_words(cause)}", host=origin)
    return UpstreamError(Kind.BROKEN, f"broke off: {str(error) or type(error).__name__}", host=origin)


def _words(cause: Exception) -> str:
    """Return the system's own message, which asyncio replaces by one with the address."""
    if isinstance(cause, SocksError):
        return str(cause)
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) and cause.errno is not None:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(cause) or "no answer in time"
