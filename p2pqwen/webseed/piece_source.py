"""One torrent's bytes from its upstreams: which to ask for which piece, and which is to blame.

An upstream that gave a wrong piece is dropped for that file: it is asked again only if no other is left, and ever more
rarely. The others are asked in the order of the bases, with those that failed last behind those that did not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from p2pqwen.events import Notice
from p2pqwen.webseed.buffers import BufferPool
from p2pqwen.webseed.fault import Kind, UpstreamError
from p2pqwen.webseed.in_flight import Claims
from p2pqwen.webseed.piece_check import PieceCheck
from p2pqwen.webseed.source_stats import Account, Outlook
from p2pqwen.webseed.timeouts import Timeouts
from p2pqwen.webseed.upstream_server import RemoteFile, UpstreamServer

MAX_NOTICES = 1000
_ABSENCES_TO_SAY_GONE = 3
_WAIT_TO_TELL = 5.0  # seconds


class UnavailableError(Exception):
    """No upstream can give this piece now; their backoffs say why, and when one may be asked."""


@dataclass(slots=True)
class _Record:
    """One upstream, and what it did wrong here."""

    upstream: UpstreamServer
    dropped: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    said_useless: bool = False
    said_to_wait: bool = False


class Supply:
    """The upstreams of one torrent. Use from one event loop; `notices` may be emptied from any thread."""

    def __init__(
        self,
        files: Sequence[RemoteFile],
        check: PieceCheck,
        upstreams: Sequence[UpstreamServer],
        *,
        pool: BufferPool,
        executor: Executor,
        timeouts: Timeouts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = files
        self.check = check
        self.pool = pool
        self.executor = executor
        self.notices: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._records = [_Record(upstream) for upstream in upstreams]
        self._timeouts = timeouts
        self._clock = clock
        self.claims = Claims()
        self._last_good = clock()
        self._missed: set[int] = set()
        self._givers: dict[tuple[int, int], list[tuple[Account, int]]] = {}
        self._sent: Counter[tuple[int, int]] = Counter()

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What each upstream gave, in the order of the bases."""
        return tuple(record.upstream.account for record in self._records)

    async def close(self) -> None:
        """Close the upstreams' connections."""
        for record in self._records:
            await record.upstream.close()

    async def choose(self, file: int, *, only: UpstreamServer | None = None) -> UpstreamServer:
        """Return the upstream to ask for a piece; wait a little if one may be ready soon.

        Raises `UnavailableError`. With `only`, considers no other.
        """
        until = self._clock() + (self._timeouts.hold if not self._is_hopeless(file) else 0.0)
        while True:
            candidates = [record for record in self._candidates(file) if only in {None, record.upstream}]
            if not candidates:
                self._missed.add(file)
                raise UnavailableError
            now = self._clock()
            ready_at = [record.upstream.ready_at(self.files[file]) for record in candidates]
            # A silent one costs many seconds each time, so wait for a better one that is ready soon.
            soon = [at for at, record in zip(ready_at, candidates, strict=True) if not self._is_silent(file, record)]
            worth_waiting = min(soon, default=until) < until
            for at, record in zip(ready_at, candidates, strict=True):
                if at <= now and not (worth_waiting and self._is_silent(file, record)):
                    return record.upstream
            next_at = min(soon) if worth_waiting else min(ready_at)
            if next_at > until:
                self._missed.add(file)
                raise UnavailableError
            await asyncio.sleep(max(next_at - now, 0.001))

    def give_whole_file(self, file: int, upstream: UpstreamServer) -> bool:
        """Tell whether to accept a body from byte 0 for any piece: yes if the upstream ignored a range before."""
        last = upstream.backoff(self.files[file]).last
        return last is not None and last.kind is Kind.NO_RANGES

    def good(self, file: int, piece: int, givers: Sequence[tuple[UpstreamServer, int]]) -> None:
        """Record that a piece passed its check, and how many of its bytes each upstream gave."""
        self._givers[file, piece] = [(upstream.account, count) for upstream, count in givers]
        self._last_good = self._clock()
        self._missed.discard(file)
        for upstream, count in givers:
            upstream.account.bytes_good += count
            upstream.worked(self.files[file])

    def sent(self, file: int, piece: int, count: int) -> None:
        """Record that `count` bytes of a piece were sent to the download."""
        self._sent[file, piece] += count

    def keep(self, gained: Iterable[tuple[int, int, int]]) -> int:
        """Record the pieces that the download gained, each as file, piece and bytes.

        Returns how many of those bytes were sent from here; the accounts' `bytes_kept` rise by that number.
        """
        kept = 0
        for file, piece, size in gained:
            left = min(size, self._sent.pop((file, piece), 0))
            kept += left
            for account, count in self._givers.get((file, piece), ()):
                account.bytes_kept += min(count, left)
                left -= min(count, left)
        return kept

    def failed(self, file: int, upstream: UpstreamServer, fault: UpstreamError) -> None:
        """Record a failed request or body."""
        upstream.failed(self.files[file], fault)
        record = next(record for record in self._records if record.upstream is upstream)
        if fault.wait is not None and fault.wait >= _WAIT_TO_TELL and not record.said_to_wait:
            record.said_to_wait = True
            self._say("info", f"web seed {upstream.base} asks us to wait {fault.wait:.0f} s: {fault.reason}")
        if fault.kind is Kind.ABSENT:
            record.absent.add(file)
        if self._is_hopeless(file):
            self._missed.add(file)
        gone = len(record.absent) >= min(_ABSENCES_TO_SAY_GONE, len(self.files))
        if (
            (gone or fault.kind in {Kind.UNREACHABLE, Kind.NO_WAY})
            and not record.said_useless
            and not upstream.account.bytes_good
        ):
            record.said_useless = True
            what = "has none of the files asked for so far" if gone else "is of no use so far"
            self._say("info", f"web seed {upstream.base} {what}: {fault.reason}")

    def wrong(self, file: int, piece: int, upstream: UpstreamServer) -> None:
        """Record that one upstream alone gave a piece that failed its check: it is dropped for that file."""
        path = self.files[file].path
        record = next(record for record in self._records if record.upstream is upstream)
        upstream.failed(self.files[file], UpstreamError(Kind.WRONG, f"piece {piece} failed its hash"))
        if self._is_hopeless(file):
            self._missed.add(file)
        if file not in record.dropped:
            record.dropped.add(file)
            upstream.account.dropped[path.text] = f"piece {piece} failed its hash"
            self._say("warning", f"web seed {upstream.base} sent wrong bytes for {path} and is dropped for that file")

    def outlook(self) -> Outlook:
        """Return which of the files asked for in vain no upstream can be expected to give."""
        hopeless: dict[str, tuple[str, ...]] = {}
        for number in sorted(self._missed):
            file = self.files[number]
            if self._is_hopeless(number):
                reasons = ((record.upstream.base, record.upstream.last_reason(file)) for record in self._records)
                hopeless[file.path.text] = tuple(f"{base}: {reason}" for base, reason in reasons)
        now = self._clock()
        waits = (record.upstream.asked_until - now for record in self._records)
        return Outlook(hopeless, idle_seconds=now - self._last_good, asked_to_wait=max(0.0, *waits))

    def _is_hopeless(self, file: int) -> bool:
        return all(record.upstream.is_hopeless(self.files[file]) for record in self._records)

    def _candidates(self, file: int) -> list[_Record]:
        remote = self.files[file]
        hopeful = [r for r in self._records if file not in r.dropped and not r.upstream.is_hopeless(remote)]
        return sorted(hopeful or self._records, key=lambda record: self._rank(file, record))

    def _rank(self, file: int, record: _Record) -> tuple[bool, bool, bool, int]:
        failures = record.upstream.backoff(self.files[file]).failures
        whole = self.give_whole_file(file, record.upstream)
        return file in record.dropped, whole, self._is_silent(file, record), failures

    def _is_silent(self, file: int, record: _Record) -> bool:
        last = record.upstream.backoff(self.files[file]).last
        return last is not None and last.kind is Kind.SILENT

    def _say(self, level: str, text: str) -> None:
        self.notices.append(Notice("warning" if level == "warning" else "info", text))
