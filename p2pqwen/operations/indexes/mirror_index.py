"""What one mirror has of a publisher's index, asked for in the cheapest way that it understands.

1. A server that gave an ETag or a date with the index that is accepted here is asked whether it has another; where it
   has not, that one answer is all.
2. Otherwise the whole file comes, onto the disk where it is large.

Nothing is believed of it: what comes is judged like any other index. A server that says that nothing changed can keep
news from us for as long as it likes, which it could do by an old file as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from p2pqwen.index.acceptance import Accepted, judge_again
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.library.index_source import FileSource, IndexSource, Spool, plain_file
from p2pqwen.library.trust_store import Answered, TrustedPublisher, TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.location import Location, is_web
from p2pqwen.mirrors.reading import NO_VALIDATORS, TIMEOUTS, Allow, Came, Timeouts, Validators, read_into
from p2pqwen.values.named_hosts import NamedHosts

FIRST_SECONDS = 3600.0
"""For an index that a user named and waits for: a million entries take a slow line that long."""


@contextlib.contextmanager
def index_at(store: TrustStore, place: Location, named: NamedHosts) -> Iterator[IndexSource]:
    """Bring the index that a user named, for the length of the block; raises what `mirrors.reading.read` does."""
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


class MirrorIndex:
    """One asking of one mirror; `close` drops what came of it."""

    def __init__(
        self, store: TrustStore, publisher: TrustedPublisher, mirror: str, timeouts: Timeouts, allow: Allow
    ) -> None:
        self.mirror = mirror
        self.said = NO_VALIDATORS
        """What the server called the file that it gave."""
        self._store, self._publisher = store, publisher
        self._timeouts, self._allow = timeouts, allow
        self._spools: list[Spool] = []

    async def newest(self, before: Answered | None) -> IndexSource | Accepted:
        """Return what the mirror has: a file to be judged, or what is accepted here where that is what it has.

        `before` is what it said the last time. Raises what `mirrors.reading.read` does, and `RefusedError`.
        """
        place, held = Location(self.mirror).index, self._publisher.accepted
        if not is_web(place):
            return FileSource(await asyncio.to_thread(plain_file, Path(place), MAX_INDEX_SIZE))
        known = NO_VALIDATORS
        if held is not None and before is not None and before.digest == held.digest:
            known = Validators(before.etag, before.modified)
        spool = self._spool()
        came = await self._read(spool, place, MAX_INDEX_SIZE, unless=known)
        if held is not None and came.unchanged:
            self.said = known
            return judge_again(held, self._publisher.state)
        self.said = came.validators
        return spool.source()

    def close(self) -> None:
        """Drop what came."""
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
            timeouts=self._timeouts,
            allow=self._allow,
            unless=unless,
            first=first,
        )
