"""Files out of the Hub's Xet storage, as one of two ways to them: the other is plain HTTP.

Which files are there the Hub's listing says, and where the store is its token route, which is asked at the Hub's own
host whatever an answer names. Only a Hub that the user named is believed in this: hf_xet resolves names itself, and
goes where the store sends it. When the store fails, plain HTTP is used at once, and for a while from the start.
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
"""Bytes that all processes together may hold. Several small files are fetched at once, or two large ones."""
AT_ONCE = 4
"""Files that are fetched at once at most."""
ASK_SECONDS = 15.0
"""For the Hub to give a token."""
BACK_AFTER = 300.0
"""Seconds for which plain HTTP is used after the store has failed."""
_TOKEN_MARGIN = 60.0
_SMALLEST_WINDOW = 256 * 1024
_LARGEST_WINDOW = 64 * 1024 * 1024
_WINDOW_SECONDS = 0.5  # of what a limit lets come: this much is on its way beyond what the limit allows
_CUT = 64 * 1024  # bytes of a chunk on average: the store gives whole ones, and both ends of a window cut one
_REFUSALS = 2


class XetStore:
    """The store behind one Hub. Its methods may be called from several threads at once.

    `took` gets bytes as they come and is called without any while none do; it holds back and ends the work. `rate` is
    the limit in bytes a second, 0 for none. Logs go below `folder`.
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
        """Tell whether a file can be asked for here."""
        return file.xet_hash is not None and self._trusted and is_xet_available()

    @property
    def closed(self) -> bool:
        """Whether the store failed lately."""
        return time.monotonic() < self._closed_until

    def close_for_a_while(self) -> bool:
        """Note that the store failed; tell whether that is news."""
        with self._closing:
            news = not self.closed
            self._closed_until = time.monotonic() + BACK_AFTER
        return news

    def look(self, snapshot: SnapshotId) -> str | None:
        """Ask for a token and knock at the store; return its address, None where the Hub has none or none is used.

        Raises `NetworkError` where it cannot be reached.
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
        """Bring a file below `scratch` and return its path; raises `XetFailedError`, and `OSError` of our disk.

        What `on_bytes` was given is taken back where this fails.
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
            target.unlink(missing_ok=True)  # or `partial` would show it while the file comes another way
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
        """Fetch on from `at` and return how far that came: to the end, or to where a limit began or ended."""
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
        """Ask the Hub for a token. Its host is asked, whatever another answer of it names."""
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
    """A Hub, or a mirror of one, does not know the token route."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"{endpoint} lists Xet hashes but gives no Xet tokens")


class _LimitBeganError(Exception):
    """A rate was set while a file came as fast as it could."""


class _Count:
    """How far a file is, told as differences and never beyond its size. `written`: as far as hf_xet says it wrote."""

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
    """Return how much of the file's beginning is there: hf_xet writes from the front."""
    return min(count.written, _size_of(file.target))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
