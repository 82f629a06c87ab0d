"""Places for bodies being sent, given out and taken back by `fair_share`. Use from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from p2pqwen.webseed.fair_share import FairRule, Shares

MAX_REMEMBERED = 4096  # addresses


@dataclass(slots=True, eq=False)
class Reader:
    """A receiver of a body, or one waiting for its place. `progress`: bytes taken in all, bytes sent but not taken."""

    group: str
    progress: Callable[[], tuple[int, int]]
    cut: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    reader: Reader
    since: float
    turn: asyncio.Future[None]


class Places:
    """`count` places. Call `look` every second or so: it cuts readers that must leave."""

    def __init__(self, count: int, rule: FairRule, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._shares: Shares[Reader] = Shares(rule)
        self._serving: set[Reader] = set()
        self._waiting: list[_Waiting] = []
        self._last: OrderedDict[str, float] = OrderedDict()  # when each address was last given a place

    @property
    def waiting(self) -> int:
        """The number of readers that wait for a place."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, reader: Reader) -> AsyncIterator[None]:
        """Wait for a place and hold it while the block lasts."""
        waiting = _Waiting(reader, self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._give_out()
        try:
            await waiting.turn
            yield
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            self._serving.discard(reader)
            self._shares.release(reader)
            self._give_out()

    def look(self) -> None:
        """Measure the readers being served, and cut those that must make room for a waiting one."""
        now = self._clock()
        for reader in self._serving:
            taken, owed = reader.progress()
            self._shares.observe(reader, taken=taken, owed=owed, now=now)
        # One place for each waiting reader, the longest first; places about to be free count.
        for one in sorted(self._waiting, key=lambda one: one.since)[self._shares.leaving :]:
            gone = self._shares.cut(one.reader.group, waited=now - one.since, now=now)
            if gone is not None:
                with contextlib.suppress(OSError):  # already gone
                    gone.cut()

    def _give_out(self) -> None:
        while self._waiting and len(self._shares) < self._count:
            counts = {one.reader.group: self._shares.count(one.reader.group) for one in self._waiting}
            first = min(
                self._waiting,
                key=lambda one: (counts[one.reader.group], self._last.get(one.reader.group, -math.inf), one.since),
            )
            self._waiting.remove(first)
            if first.turn.done():  # its request was cancelled while it waited
                continue
            self._shares.hold(first.reader, first.reader.group, self._clock())
            self._serving.add(first.reader)
            self._remember(first.reader.group)
            first.turn.set_result(None)

    def _remember(self, group: str) -> None:
        self._last[group] = self._clock()
        self._last.move_to_end(group)
        while len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
