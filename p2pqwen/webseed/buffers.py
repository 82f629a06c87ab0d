"""Piece buffers: a fixed amount of memory for any file and number of requests; free buffers keep their content.

The limit of 48 MiB is 3 of the largest pieces (16 MiB); with it the relay stays under the 100 MB it may use.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

MEMORY_LIMIT = 48 * 1024 * 1024


class Buffer:
    """One piece: `data` up to `size`. `key` names the checked piece it holds, None while it is being filled.

    `holders` counts its borrowers. A checked piece may have several, which only read.
    """

    __slots__ = ("data", "holders", "key", "size")

    def __init__(self, capacity: int) -> None:
        self.data = bytearray(capacity)
        self.size = 0
        self.key: Hashable = None
        self.holders = 0

    @property
    def view(self) -> memoryview:
        """The bytes of the piece."""
        return memoryview(self.data)[: self.size]


class BufferPool:
    """Lends buffers; a caller waits while all are lent. Use from one event loop."""

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self._limit = memory_limit
        self._allocated = 0
        self._count = 0
        self._free: OrderedDict[int, Buffer] = OrderedDict()  # by id, the longest unused first
        self._kept: dict[Hashable, Buffer] = {}
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def allocated(self) -> int:
        """Bytes of all buffers, lent or free."""
        return self._allocated

    async def take(self, capacity: int) -> Buffer:
        """Borrow an empty buffer of exactly this capacity."""
        while (buffer := self._try_take(capacity)) is None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        buffer.holders = 1
        return buffer

    def publish(self, buffer: Buffer, key: Hashable) -> None:
        """Record which checked piece a borrowed buffer holds; from then on others may find it, and none changes it."""
        buffer.key = key
        self._kept[key] = buffer

    def find(self, key: Hashable) -> Buffer | None:
        """Borrow the buffer that holds this checked piece, if there still is one; others may have it too."""
        buffer = self._kept.get(key)
        if buffer is not None:
            buffer.holders += 1
            self._free.pop(id(buffer), None)
        return buffer

    def give(self, buffer: Buffer) -> None:
        """Return a borrowed buffer. A checked piece may be found again until its memory is needed."""
        buffer.holders -= 1
        if buffer.holders:
            return
        self._free[id(buffer)] = buffer
        if buffer.key is None:
            self._free.move_to_end(id(buffer), last=False)
        self._wake()

    def _try_take(self, capacity: int) -> Buffer | None:
        if self._allocated + capacity <= self._limit or not self._count:
            return self._allocate(capacity)
        chosen = next((buffer for buffer in self._free.values() if len(buffer.data) == capacity), None)
        if chosen is not None:
            self._forget(chosen)
            del self._free[id(chosen)]
            return chosen
        while self._free:
            self._discard(next(iter(self._free.values())))
            if not self._count or self._allocated + capacity <= self._limit:
                return self._allocate(capacity)
        return None

    def _allocate(self, capacity: int) -> Buffer:
        self._allocated += capacity
        self._count += 1
        return Buffer(capacity)

    def _discard(self, buffer: Buffer) -> None:
        self._forget(buffer)
        del self._free[id(buffer)]
        self._allocated -= len(buffer.data)
        self._count -= 1

    def _forget(self, buffer: Buffer) -> None:
        if buffer.key is not None and self._kept.get(buffer.key) is buffer:
            del self._kept[buffer.key]
        buffer.key = None

    def _wake(self) -> None:
        # Wake all, because the first may need more room than is free, and the next less.
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()
