"""A run of pieces of one file, fetched one ahead of the caller, each checked before it is passed on.

Because the check comes first, wrong bytes from an upstream never reach libtorrent, which would blame the relay for them
(`ban_web_seeds`, or the file marked as missing for good). A broken body is resumed at the byte reached, at the same
upstream or another. If several gave parts of a piece that fails, none is blamed: the piece is fetched again from one
alone, so that the blame is certain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from p2pqwen.webseed.body import Body
from p2pqwen.webseed.buffers import Buffer
from p2pqwen.webseed.fault import UpstreamError
from p2pqwen.webseed.piece_source import Supply, UnavailableError
from p2pqwen.webseed.upstream_server import UpstreamServer


async def pieces(supply: Supply, file: int, first: int, last: int) -> AsyncGenerator[Buffer, None]:
    """Yield the pieces `first` to `last` of a file; raises `UnavailableError` at one that no upstream gives.

    A buffer is the caller's until it asks for the next one.
    """
    ready: asyncio.Queue[Buffer | Exception] = asyncio.Queue(1)
    run = _Run(supply, file, first, last)
    producer = asyncio.create_task(run.produce(ready))
    try:
        for _ in range(first, last + 1):
            item = await ready.get()
            if isinstance(item, Exception):
                raise item
            try:
                yield item
            finally:
                supply.pool.give(item)
    finally:
        producer.cancel()
        await asyncio.gather(producer, return_exceptions=True)
        run.close()
        while not ready.empty():
            if isinstance(item := ready.get_nowait(), Buffer):
                supply.pool.give(item)


class _Run:
    def __init__(self, supply: Supply, file: int, first: int, last: int) -> None:
        self._supply = supply
        self._file = file
        self._pieces = range(first, last + 1)
        self._mine = supply.claims.claim((file, piece) for piece in self._pieces)
        self._body: Body | None = None
        self._upstream: UpstreamServer | None = None

    def close(self) -> None:
        """Close the connection, and leave the pieces that were not fetched to others."""
        self._close_body()
        for _, piece in list(self._mine):
            self._release(piece)

    async def produce(self, ready: asyncio.Queue[Buffer | Exception]) -> None:
        for piece in self._pieces:
            try:
                buffer = await self._get(piece)
            except Exception as error:  # noqa: BLE001 - handed to the caller that takes the pieces
                await ready.put(error)
                return
            try:
                await ready.put(buffer)
            except asyncio.CancelledError:
                self._supply.pool.give(buffer)
                raise

    async def _get(self, piece: int) -> Buffer:
        key, claims = (self._file, piece), self._supply.claims
        while True:
            if (found := self._supply.pool.find((self._supply, *key))) is not None:
                self._release(piece)
                return found
            if key not in self._mine:
                await claims.wait(key)
                self._mine |= claims.claim([key])
            else:
                return await self._make(piece)

    def _release(self, piece: int) -> None:
        if (key := (self._file, piece)) in self._mine:
            self._mine.remove(key)
            self._supply.claims.release(key)

    async def _make(self, piece: int) -> Buffer:
        buffer = await self._supply.pool.take(self._supply.check.piece_length)
        try:
            buffer.size = len(self._supply.check.span(self._file, piece))
            while not await self._fill(piece, buffer, alone=False) and not await self._fill(piece, buffer, alone=True):
                continue
        except BaseException:
            self._supply.pool.give(buffer)
            raise
        self._supply.pool.publish(buffer, (self._supply, self._file, piece))
        self._release(piece)
        return buffer

    async def _fill(self, piece: int, buffer: Buffer, *, alone: bool) -> bool:
        """Fetch a piece and tell whether it passed its check; with `alone`, all of it from one upstream."""
        start = self._supply.check.span(self._file, piece).start
        givers: list[tuple[UpstreamServer, int]] = []
        at = 0
        while at < buffer.size:
            try:
                body, upstream = await self._open(piece, start + at, only=givers[-1][0] if alone and givers else None)
            except UnavailableError:
                if not (alone and givers):
                    raise
                at, givers = 0, []
                continue
            before = at
            try:
                while at < buffer.size:
                    at = await body.read_into(buffer.data, at, buffer.size)
            except UpstreamError as fault:
                self._failed(upstream, fault)
            if at > before:
                givers.append((upstream, at - before))
        return await self._judge(piece, buffer, givers)

    async def _judge(self, piece: int, buffer: Buffer, givers: list[tuple[UpstreamServer, int]]) -> bool:
        loop = asyncio.get_running_loop()
        check = self._supply.check.holds
        if await loop.run_in_executor(self._supply.executor, check, self._file, piece, buffer.view):
            self._supply.good(self._file, piece, givers)
            return True
        self._close_body()  # its further bytes would be wrong too
        if len({upstream for upstream, _ in givers}) == 1:
            self._supply.wrong(self._file, piece, givers[0][0])
        return False

    async def _open(self, piece: int, position: int, *, only: UpstreamServer | None) -> tuple[Body, UpstreamServer]:
        if self._body is not None and self._upstream is not None:
            if self._body.position == position and only in {None, self._upstream}:
                return self._body, self._upstream
            self._close_body()
        while True:
            upstream = await self._supply.choose(self._file, only=only)
            remote = self._supply.files[self._file]
            whole = self._supply.give_whole_file(self._file, upstream)
            try:
                self._body = await upstream.open(remote, position, self._stop(piece), skip_any=whole)
            except UpstreamError as fault:
                self._failed(upstream, fault)
                continue
            self._upstream = upstream
            return self._body, upstream

    def _stop(self, piece: int) -> int:
        """Return where the pieces that we claimed, from this one on, end."""
        last = piece
        while (self._file, last + 1) in self._mine:
            last += 1
        return self._supply.check.span(self._file, last).stop

    def _failed(self, upstream: UpstreamServer, fault: UpstreamError) -> None:
        self._close_body()
        self._supply.failed(self._file, upstream, fault)

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
