"""Download files from the Hub's Xet storage, one of two ways to get them; the other is plain HTTP.

The Hub's listing says which files the store has, and its token route says where the store is. Tokens are requested only
from the Hub's own host, whatever an answer names. Xet is used only with a Hub that the user named, because hf_xet
resolves names itself and follows the store's URLs. If the store fails, plain HTTP is used at once, and is tried first
for the next 300 seconds.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils._xet import parse_xet_connection_info_from_headers

from p2pqwen.errors import NetworkError
from p2pqwen.hub.turns import Turns
from p2pqwen.hub.xet_job import BUFFER, XetAccess, XetFailedError, XetFile
from p2pqwen.hub.xet_process import KeptProcesses, XetProcess
from p2pqwen.net.dialling import proxies_now
from p2pqwen.values.host import Host
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.named_hosts import Guard, NamedHosts
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import api_path

SMALL = 8 * 1024 * 1024
"""Files up to this size come over plain HTTP first: one request, and no process."""
IN_FLIGHT = 2 * BUFFER
"""Bytes that all processes together may hold: those of several small files or of 2 large ones."""
AT_ONCE = 4
"""The most files that are fetched at once."""
ASK_SECONDS = 15.0
"""Seconds in which the Hub must answer a request for a token."""
BACK_AFTER = 300.0
"""Seconds for which plain HTTP is used after the store has failed."""
_TOKEN_MARGIN = 60.0
_SMALLEST_WINDOW = 256 * 1024
_LARGEST_WINDOW = 64 * 1024 * 1024
_WINDOW_SECONDS = 0.5  # of bytes at the limit's rate: what may be in flight beyond the limit
_CUT = 64 * 1024  # average bytes of a chunk: the store sends whole chunks, and both ends of a window cut one
_REFUSALS = 2


class XetStore:
    """The store behind one Hub. Methods may be called from several threads at once.

    `took` gets the number of bytes as they arrive, and 0 while none do; it may block, or raise to end the work. `rate`
    is the limit in bytes per second, 0 for none. Logs go below `folder`.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        named: NamedHosts,
        took: Callable[[int], None],
        rate: Callable[[], int],
        folder: Path | None,
    ) -> None:
        self._endpoint, self._token, self._folder = endpoint, token, folder
        self._took, self._rate = took, rate
        self._guard = Guard(named)
        self._trusted = Host.of_url(endpoint) in named
        self._access: dict[SnapshotId, XetAccess] = {}
        self._asking, self._closing = threading.Lock(), threading.Lock()
        self._turns = Turns(lambda: IN_FLIGHT, self._tick)
        self._closed_until = 0.0
        self._kept = KeptProcesses()

    def has(self, file: ListedFile) -> bool:
        """Tell whether a file can be fetched from here."""
        return file.xet_hash is not None and self._trusted and is_xet_available()

    @property
    def closed(self) -> bool:
        """Whether the store failed in the last `BACK_AFTER` seconds."""
        return time.monotonic() < self._closed_until

    def close_for_a_while(self) -> bool:
        """Record that the store failed; tell whether it was open before."""
        with self._closing:
            news = not self.closed
            self._closed_until = time.monotonic() + BACK_AFTER
        return news

    def look(self, snapshot: SnapshotId) -> str | None:
        """Request a token and contact the store; return its address, None if the Hub has none or we may not use it.

        Raises `NetworkError` if it cannot be reached.
        """
        if not (self._trusted and is_xet_available()):
            return None
        try:
            cas = self._ask(snapshot).cas
        except _NoTokensError:
            return None
        except XetFailedError as error:
            raise NetworkError("the Hub's Xet storage cannot be used", got=error.cause) from error
        try:
            answer = get_session().head(cas, timeout=ASK_SECONDS)
        except httpx2.HTTPError as error:
            raise NetworkError(f"no answer from the Hub's Xet storage, {cas}", got=error) from error
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NetworkError(f"the Hub's Xet storage, {cas}, is out of order", got=f"status {answer.status_code}")
        return cas

    def fetch(self, snapshot: SnapshotId, file: ListedFile, scratch: Path, on_bytes: Callable[[int], None]) -> Path:
        """Fetch a file to below `scratch` and return its path; raises `XetFailedError`, and `OSError` of our disk.

        If this fails, `on_bytes` gets the counted bytes as a negative number.
        """
        target = scratch / "xet.incomplete"
        target.unlink(missing_ok=True)
        wanted = XetFile(str(file.xet_hash), file.size, target)
        count = _Count(file.size, on_bytes)
        try:
            with self._kept, self._turns.one(min(max(file.size, IN_FLIGHT // AT_ONCE), BUFFER)):
                self._fetch(snapshot, wanted, self._folder or scratch / "xet", count)
        except BaseException as error:
            endless = isinstance(error, OSError) and error.errno == errno.EFBIG and _size_of(target) >= file.size
            count.take_back()
            target.unlink(missing_ok=True)  # otherwise `partial` would show it while the file comes over HTTP
            if endless:
                raise XetFailedError("it has more bytes than the file") from error
            raise
        return target

    def _fetch(self, snapshot: SnapshotId, file: XetFile, folder: Path, count: _Count) -> None:
        at, refusals = 0, 0
        while at < file.size:
            before = at
            try:
                at = self._run(self._access_to(snapshot), file, folder, at, count)
            except XetFailedError as error:
                at = _written(file, count)
                refusals = 1 if at > before else refusals + 1
                if not error.refused or refusals >= _REFUSALS:
                    raise
                self._access.pop(snapshot, None)  # the next one is fresh

    def _run(self, access: XetAccess, file: XetFile, folder: Path, at: int, count: _Count) -> int:
        """Fetch from `at` and return the offset reached: the end, or where a limit began."""
        limited = self._rate() > 0
        if at == 0 and not limited:
            return self._whole(access, file, folder, count)
        size = _SMALLEST_WINDOW
        with XetProcess(folder) as process:
            process.begin(access, file, self._tick, windows=True)
            while at < file.size:
                begun, rate = time.monotonic(), self._rate()
                most = max(_SMALLEST_WINDOW, int(rate * _WINDOW_SECONDS)) if rate else _LARGEST_WINDOW
                stop = min(at + min(size, most), file.size)
                process.window(at, stop)
                size = size * 2 if time.monotonic() - begun < _WINDOW_SECONDS else max(size // 2, _SMALLEST_WINDOW)
                size = min(size, _LARGEST_WINDOW)
                count.written = stop
                count.reach(stop)
                self._took(stop - at + _CUT)
                at = stop
        return at

    def _whole(self, access: XetAccess, file: XetFile, folder: Path, count: _Count) -> int:
        def on_progress(wire: int, written: int) -> None:
            count.written = written
            if (new := count.reach(max(wire, written))) > 0:
                self._took(new)

        def tick() -> None:
            self._tick()
            if self._rate():
                raise _LimitBeganError

        try:
            with self._kept.one(access, folder) as process:
                process.begin(access, file, tick, windows=False)
                process.follow(on_progress)
        except _LimitBeganError:
            return _written(file, count)
        count.reach(file.size)
        return file.size

    def _tick(self) -> None:
        self._took(0)

    def _access_to(self, snapshot: SnapshotId) -> XetAccess:
        with self._asking:
            known = self._access.get(snapshot)
            if known is None or known.expires < time.time() + _TOKEN_MARGIN:
                known = self._access[snapshot] = self._ask(snapshot)
            return known

    def _ask(self, snapshot: SnapshotId) -> XetAccess:
        """Request a token from the Hub's own host, whatever its other answers name."""
        url = f"{self._endpoint}/api/{api_path(snapshot.repo)}/xet-read-token/{snapshot.commit}"
        headers = build_hf_headers(token=self._token or False, library_name="p2pqwen")
        try:
            answer = get_session().get(url, headers=headers, timeout=ASK_SECONDS)
            hf_raise_for_status(answer)
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in {404, 405, 501}:
                raise _NoTokensError(self._endpoint) from error
            raise XetFailedError(f"{self._endpoint} answered {status} to the request for a Xet token") from error
        except (httpx2.HTTPError, NetworkError) as error:
            raise XetFailedError(f"no Xet token from {self._endpoint}") from error
        info = parse_xet_connection_info_from_headers(answer.headers)
        if info is None:
            raise _NoTokensError(self._endpoint)
        self._check(info.endpoint)
        return XetAccess(info.endpoint, info.access_token, info.expiration_unix_epoch)

    def _check(self, cas: str) -> None:
        try:
            self._guard.check_url(cas)
        except NetworkError as error:
            raise XetFailedError(
                f"{self._endpoint} names a Xet store that is not contacted: {error.message}"
            ) from error
        proxies = [proxies_now().proxy_for(scheme) for scheme in ("http", "https")]
        if any(proxy is not None and proxy.scheme.startswith("socks") for proxy in proxies):
            raise XetFailedError("hf_xet does not go through SOCKS proxies")


class _NoTokensError(XetFailedError):
    """The Hub, or a mirror of it, has no token route."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"{endpoint} lists Xet hashes but gives no Xet tokens")


class _LimitBeganError(Exception):
    """A rate limit was set while a file came without one."""


class _Count:
    """A file's progress, reported in steps and never beyond its size. `written`: the bytes that hf_xet has written."""

    def __init__(self, size: int, on_bytes: Callable[[int], None]) -> None:
        self._size, self._on_bytes = size, on_bytes
        self.done = self.written = 0

    def reach(self, at: int) -> int:
        new = min(at, self._size) - self.done
        if new > 0:
            self.done += new
            self._on_bytes(new)
        return max(new, 0)

    def take_back(self) -> None:
        if self.done:
            self._on_bytes(-self.done)
        self.done = 0


def _written(file: XetFile, count: _Count) -> int:
    """Return how many bytes of the file are on disk: hf_xet writes from the front."""
    return min(count.written, _size_of(file.target))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
