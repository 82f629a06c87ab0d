"""One HTTP body being read into a piece buffer, checked for silence, slowness and an early end."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from p2pqwen.values.byte_size import format_rate
from p2pqwen.webseed.fault import Kind, UpstreamError
from p2pqwen.webseed.http_answer import Part, Wanted
from p2pqwen.webseed.source_stats import Account
from p2pqwen.webseed.timeouts import Timeouts


class Body:
    """The bytes of a file from `position` on, which advances as they are read."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        part: Part,
        wanted: Wanted,
        timeouts: Timeouts,
        account: Account,
        clock: Callable[[], float],
    ) -> None:
        self.position = wanted.start
        self._response = response
        self._skip = wanted.start - part.start
        self._end = min(part.stop, wanted.stop)
        self._timeouts = timeouts
        self._account = account
        self._clock = clock
        self._rest = memoryview(b"")
        self._waited = 0.0  # seconds; time in which libtorrent was not ready for more does not count
        self._window_bytes = 0

    async def read_into(self, target: bytearray, at: int, until: int) -> int:
        """Fill `target[at:until]` with one chunk at most and return the new `at`; raises `UpstreamError`."""
        chunk = self._rest or await self._next()
        taken = min(len(chunk), until - at)
        target[at : at + taken] = chunk[:taken]
        self._rest = chunk[taken:]
        self.position += taken
        return at + taken

    def close(self) -> None:
        """Release the connection if the body is finished, else close it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def _next(self) -> memoryview:
        if self.position >= self._end:
            raise UpstreamError(Kind.BROKEN, "sent less than was asked for")
        while True:
            asked = self._clock()
            try:
                chunk = memoryview((await self._response.content.readchunk())[0])  # `readany` would join chunks: a copy
            except (aiohttp.ServerTimeoutError, TimeoutError) as error:
                raise UpstreamError(Kind.SILENT, f"no byte in {self._timeouts.silence:g} s") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise UpstreamError(Kind.BROKEN, f"broke off after byte {self.position}") from error
            if not chunk:
                raise UpstreamError(Kind.BROKEN, f"ended early, at byte {self.position}")
            self._watch(len(chunk), self._clock() - asked)
            if self._skip < len(chunk):
                break
            self._skip -= len(chunk)
        chunk, self._skip = chunk[self._skip :], 0
        return chunk[: self._end - self.position]

    def _watch(self, count: int, seconds: float) -> None:
        self._account.bytes_received += count
        self._window_bytes += count
        self._waited += seconds
        if self._waited < self._timeouts.slow_window:
            return
        rate = self._window_bytes / self._waited
        self._waited, self._window_bytes = 0.0, 0
        if rate < self._timeouts.slow_rate:
            raise UpstreamError(Kind.SILENT, f"only {format_rate(rate)}")
