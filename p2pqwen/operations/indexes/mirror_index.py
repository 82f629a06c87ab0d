"""Get a publisher's index from one mirror, in the cheapest way that the mirror understands.

1. A server that gave an ETag or a date with the accepted index is asked whether it has another. If not, that one
   request is all.
2. Of a large file, the beginning is read. If its version is newer than the accepted one, the delta is fetched and
   applied to the rows that are here.
3. Otherwise, or if the delta fails, the whole file is fetched, onto the disk if it is large.

Nothing is taken on trust: the result is judged like any other index. A server that says that nothing changed can
withhold news, but it can do that with an old file as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from p2pqwen.errors import NetworkError, P2pqwenError
from p2pqwen.events import Report
from p2pqwen.index.acceptance import Accepted, Position, TrustedState, judge_again
from p2pqwen.index.delta import MAX_DELTA, delta_location
from p2pqwen.index.document import MAX_INDEX_SIZE, peek_position
from p2pqwen.library.early_sync import SYNC_EVERY, EarlySync
from p2pqwen.library.index_rows.judging import let_go, progress
from p2pqwen.library.index_source import FileSource, IndexSource, Spool, bytes_of, plain_file
from p2pqwen.library.trust_store import Answered, TrustedPublisher, TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.location import Location, is_web
from p2pqwen.mirrors.reading import (
    NO_VALIDATORS,
    TIMEOUTS,
    Allow,
    Came,
    Timeouts,
    Validators,
    read,
    read_into,
)
from p2pqwen.operations.indexes.judgements import Judgements
from p2pqwen.values.named_hosts import NamedHosts

LARGE = 500
"""Entries: a shorter index is fetched whole at once."""
PEEK = 64 << 10
"""Bytes at the beginning of an index file in which its version is expected."""
MOST_FIRST = 1 << 30
MOST_ENTRY = 2 << 10
"""Bytes: a mirror may send `MOST_FIRST`, or four times `MOST_ENTRY` for each entry here if that is more."""
STEADY = 256 << 10
"""Bytes a second: 2 Mbit/s, at which 100,000 entries take 8 minutes, and a million take the hour that is the limit."""
FIRST_SECONDS = 3600.0
"""For an index that a user named and waits for: a million entries take this long on a slow line."""


@dataclass(frozen=True, slots=True)
class Brought:
    """An index that a user named. `judged` returns it as accepted, or raises `RefusedError`, `DiskError`.

    `said`: the ETag and date that the server gave with the file.
    """

    source: IndexSource
    judged: Callable[[], Accepted]
    said: Validators = NO_VALIDATORS


@contextlib.contextmanager
def index_at(store: TrustStore, place: Location, named: NamedHosts) -> Iterator[IndexSource]:
    """Get the index that a user named, for the duration of the block; raises what `mirrors.reading.read` does."""
    if not is_web(place.index):
        yield FileSource(plain_file(Path(place.index), MAX_INDEX_SIZE))
        return
    spool = store.spool()
    try:
        patient = replace(TIMEOUTS, total=FIRST_SECONDS)
        run_now(read_into(spool.take, place.index, max_bytes=MAX_INDEX_SIZE, named=named, timeouts=patient))
        yield spool.source()
    finally:
        spool.close()


@contextlib.contextmanager
def judged_at(
    store: TrustStore, place: Location, named: NamedHosts, trusted: TrustedState, *, now: datetime, report: Report
) -> Iterator[Brought]:
    """Get the index that a user named, for the duration of the block, and judge it while it arrives.

    Raises what `mirrors.reading.read` does.
    """
    if not is_web(place.index):
        source = FileSource(plain_file(Path(place.index), MAX_INDEX_SIZE))
        yield Brought(source, lambda: store.judge(source, trusted, now=now, report=report))
        return
    spool = store.spool()
    with contextlib.closing(spool), ThreadPoolExecutor(1, "judge") as pool, EarlySync() as early:
        judging = pool.submit(
            store.judge_pieces, spool.following(), lambda: spool.expected, trusted, now=now, report=report
        )
        tell = progress("download", lambda: spool.expected, report)

        def take(piece: bytes) -> None:
            before = spool.taken // SYNC_EVERY
            spool.take(piece)
            if spool.path is not None and spool.taken // SYNC_EVERY > before:
                early.begin(spool.path)
            tell(spool.taken)

        def announced(size: int | None) -> None:
            spool.expected = size

        patient = replace(TIMEOUTS, total=FIRST_SECONDS, announced=announced)
        try:
            came = run_now(read_into(take, place.index, max_bytes=MAX_INDEX_SIZE, named=named, timeouts=patient))
        except BaseException as error:
            spool.end(error if isinstance(error, P2pqwenError) else NetworkError("cut off", got=str(error)))
            raise
        spool.end()
        tell(spool.taken)  # the total is known now, whatever the server said

        def judged() -> Accepted:
            accepted = judging.result()
            try:
                early.wait()
            except BaseException:
                let_go(accepted)
                raise
            return accepted

        yield Brought(spool.source(), judged, came.validators)


class MirrorIndex:
    """One query to one mirror; `close` drops what it fetched."""

    def __init__(
        self,
        store: TrustStore,
        publisher: TrustedPublisher,
        mirror: str,
        timeouts: Timeouts,
        allow: Allow,
        judgements: Judgements,
        now: datetime,
        wait_for: Callable[[float], object] = lambda _: None,
    ) -> None:
        """`wait_for` is called when a whole index begins to arrive, with the seconds that it may take."""
        self.mirror = mirror
        self.said = NO_VALIDATORS
        """The ETag and date that the server gave with the file."""
        self._store, self._publisher = store, publisher
        self._timeouts, self._allow = timeouts, allow
        self._judgements = judgements
        self._now, self._wait_for = now, wait_for
        self._spools: list[Spool] = []

    async def newest(self, before: Answered | None) -> IndexSource | Accepted:
        """Return the mirror's index: a file to be judged, or the index itself if it is unchanged or came by delta.

        `before` is what the mirror said last time. Raises what `mirrors.reading.read` does, and `RefusedError`.
        """
        place, held = Location(self.mirror).index, self._publisher.accepted
        if not is_web(place):
            file = await asyncio.to_thread(plain_file, Path(place), MAX_INDEX_SIZE)
            with file.open("rb") as opened:
                beginning = opened.read(PEEK)
            newer = None if held is None or len(beginning) < PEEK else await self._by_delta(held, beginning)
            return FileSource(file) if newer is None else newer
        known = NO_VALIDATORS
        if held is not None and before is not None and before.digest == held.digest:
            known = Validators(before.etag, before.modified)
        spool, is_large = self._spool(), held is not None and len(held.document.entries) >= LARGE
        came = await self._read(spool, place, MAX_INDEX_SIZE, unless=known, first=PEEK if is_large else None)
        if held is not None and came.unchanged:
            self.said = known
            return judge_again(held, self._publisher.state)
        if held is not None and not came.whole:
            beginning = bytes_of(spool.source())
            if (newer := await self._by_delta(held, beginning)) is not None:
                # Otherwise the beginning may be of another version than the delta.
                self.said = came.validators if _peeked(beginning) == newer.position else NO_VALIDATORS
                return newer
            spool = self._spool()
            came = await self._read(spool, place, self._most(held))
        self.said = came.validators
        return spool.source()

    def _most(self, held: Accepted) -> int:
        """Return how many bytes a mirror may send for an index newer than the one here."""
        return min(MAX_INDEX_SIZE, max(MOST_FIRST, 4 * len(held.document.entries) * MOST_ENTRY))

    async def _by_delta(self, held: Accepted, beginning: bytes) -> Accepted | None:
        """Return the newer index that the delta from the one here makes, None if there is none."""
        position = _peeked(beginning)
        if position is not None and position <= held.position:
            return None
        place = Location(self.mirror).beside(delta_location(held.digest))
        try:
            data = await read(
                place, max_bytes=MAX_DELTA, named=self._publisher.named, timeouts=self._timeouts, allow=self._allow
            )
        except P2pqwenError:
            return None  # the whole file decides
        return await self._judgements.delta(
            partial(self._store.judge_delta, data, held, self._publisher.state, now=self._now)
        )

    def close(self) -> None:
        """Drop what was fetched."""
        for spool in self._spools:
            spool.close()

    def _spool(self) -> Spool:
        spool = self._store.spool()
        self._spools.append(spool)
        return spool

    async def _read(
        self,
        spool: Spool,
        place: str,
        max_bytes: int,
        *,
        unless: Validators = NO_VALIDATORS,
        first: int | None = None,
    ) -> Came:
        return await read_into(
            spool.take,
            place,
            max_bytes=max_bytes,
            named=self._publisher.named,
            timeouts=replace(self._timeouts, steady=STEADY, begun=self._wait_for),
            allow=self._allow,
            unless=unless,
            first=first,
        )


def _peeked(beginning: bytes) -> Position | None:
    found = peek_position(beginning)
    return None if found is None else Position(*found)
