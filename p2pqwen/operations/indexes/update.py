"""Ask all mirrors of a trusted publisher and the DHT for a newer index, all at once; take the highest valid one.

The first valid index is used at once and a newer one replaces it, so a slow source cannot hold up an update. After the
first valid one, the other sources get as long again as it took, and at least `Limits.further` seconds. An update
without a valid index ends after `Limits.whole`, unless a large index is arriving steadily. Sources are read and judged
concurrently, and so are publishers: what one does, or fails at, stops no other.

A mirror that is broken, lying, slow or frozen is reported and blocks no other. If two valid indexes contradict each
other, both are refused, unless one is already in use, and both are kept as evidence. The trusted copy stays in use
whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from p2pqwen.errors import DiskError, NetworkError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import (
    Accepted,
    EquivocationError,
    Position,
    RefusedError,
    RollbackError,
    judge_again,
)
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.index.rotation import describe_change
from p2pqwen.library import durable
from p2pqwen.library.index_rows.judging import file_digest
from p2pqwen.library.index_rows.parts import RowsNotWrittenError
from p2pqwen.library.index_source import IndexSource, Spool, digest_of
from p2pqwen.library.trust_store import Answered, TrustedPublisher, TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.reading import TIMEOUTS, Timeouts
from p2pqwen.operations.indexes.aside import LooseExecutor, Sessions, as_ours, run_aside
from p2pqwen.operations.indexes.equivocation import keep_evidence
from p2pqwen.operations.indexes.judgements import Judgements
from p2pqwen.operations.indexes.mirror_index import MirrorIndex
from p2pqwen.operations.indexes.updated import SourceResult, SourceState, Updated
from p2pqwen.values.digest import Sha256

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.bundle_route import (  # imports libtorrent, which most updates do not need
        Answer,
        BundleRoute,
    )

STALE_DAYS = 90
SESSIONS_AT_ONCE = 24
"""Pointers followed at one time, for all publishers; each needs its own session."""
SESSIONS_OF_ONE = 6
"""For one publisher: more than one batch of pointers, but too few for pointers that lead nowhere to stop the others."""
MAX_TAKEN = 6 << 30
"""Bytes that all mirrors of one publisher may send together; each alone might send the largest permitted index."""
MAX_TOLD = 20
"""Withdrawals of one update that are reported by name."""
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds.

    `whole` bounds an update without a valid index. It is extended while an index is being judged, and while a large
    one arrives steadily, as its size allows (`mirror_index.STEADY`).
    `further` is the least time that other sources get after a valid index.
    `together` is how long a valid index waits for one that contradicts it before it is used. It is extended only while
    an index that has arrived is still being judged.
    """

    whole: float = 120.0
    further: float = 8.0
    together: float = 1.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Offer:
    """A mirror's answer: what it gave, and what acceptance said about it."""

    source: str
    data: IndexSource = b""
    accepted: Accepted | None = None
    error: P2pqwenError | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A publisher to ask about, and the route to its bundles. No two share a route, which remembers what it found."""

    publisher: TrustedPublisher
    route: BundleRoute | None = None


def update(
    store: TrustStore,
    publisher: TrustedPublisher,
    *,
    now: datetime,
    timeouts: Timeouts = TIMEOUTS,
    limits: Limits = LIMITS,
    route: BundleRoute | None = None,
    report: Report = ignore,
) -> Updated:
    """Ask all of a publisher's mirrors and, by `route`, the DHT and peers; raises `DiskError` only."""
    asked = [Asked(publisher, route)]
    (updated,) = update_all(store, asked, now=now, timeouts=timeouts, limits=limits, report=report)
    return updated


def update_all(
    store: TrustStore,
    wanted: Sequence[Asked],
    *,
    now: datetime,
    timeouts: Timeouts = TIMEOUTS,
    limits: Limits = LIMITS,
    report: Report = ignore,
) -> list[Updated]:
    """Update several publishers concurrently; raises `DiskError` only, when all are done."""

    async def ask() -> list[Updated | BaseException]:
        asyncio.get_running_loop().set_default_executor(LooseExecutor())
        sessions = asyncio.Semaphore(SESSIONS_AT_ONCE)
        jobs = [_Updating(store, one, now, timeouts, limits, sessions, report).run() for one in wanted]
        return await asyncio.gather(*jobs, return_exceptions=True)

    done = run_now(ask())
    if (error := next((one for one in done if isinstance(one, BaseException)), None)) is not None:
        raise error
    return [one for one in done if isinstance(one, Updated)]


class _Room:
    """Room on the disk for what the mirrors of one publisher send at once: a share for each, the rest for all.

    A mirror that sends much does not take the share of one that sends little.
    """

    def __init__(self, mirrors: int) -> None:
        self._share = MAX_TAKEN // 2 // max(1, mirrors)
        self._left = MAX_TAKEN - self._share * mirrors

    def for_one(self) -> Callable[[int], bool]:
        """Return a function that tells a mirror's reader whether it may take that many more bytes."""
        own = self._share

        def allow(size: int) -> bool:
            nonlocal own
            from_own = min(own, size)
            if size - from_own > self._left:
                return False
            own -= from_own
            self._left -= size - from_own
            return True

        return allow


class _Updating:
    """The update of one publisher: its sources, what they gave so far, and the index in use."""

    def __init__(
        self,
        store: TrustStore,
        asked: Asked,
        now: datetime,
        timeouts: Timeouts,
        limits: Limits,
        sessions: asyncio.Semaphore,
        report: Report,
    ) -> None:
        self._store, self._publisher, self._route = store, asked.publisher, asked.route
        self._now, self._timeouts, self._limits = now, timeouts, limits
        self._sessions = Sessions(sessions, asyncio.Semaphore(SESSIONS_OF_ONE))
        self._report = report
        self._offers: list[_Offer] = []
        self._judging: dict[Sha256, asyncio.Task[_Offer]] = {}  # most mirrors hold the same bytes
        self._arrived: asyncio.Queue[_Offer | None] = asyncio.Queue()  # None: a source has nothing more to offer
        self._room = _Room(len(asked.publisher.mirrors))
        self._judgements = Judgements()
        self._asked: list[MirrorIndex] = []
        self._files: dict[str, Sha256] = {}  # the SHA-256 of what each source gave
        self._answers = store.answers(asked.publisher.publisher)
        self._best: Accepted | None = None
        self._replaced: Spool | None = None  # the index that was in use before
        self._began = self._deadline = 0.0
        self._decide_at: float | None = None

    async def run(self) -> Updated:
        """Ask all sources, use what is valid, and return the outcome; raises `DiskError`."""
        clock = asyncio.get_running_loop().time
        self._began = clock()
        self._deadline = self._began + self._limits.whole
        sources = [self._ask_mirror(mirror) for mirror in self._publisher.mirrors]
        sources += [self._ask_dht(self._route)] if self._route is not None else []
        tasks = [asyncio.create_task(self._contained(source)) for source in sources]
        try:
            await self._take(len(tasks), clock)
        finally:
            for task in (*tasks, *self._judging.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._judging.values(), return_exceptions=True)
        seconds = clock() - self._began
        self._add_unfinished(seconds)
        try:
            return await run_aside(self._finish)
        finally:
            self._judgements.close()
            for asked in self._asked:
                asked.close()
            self._asked.clear()  # a cycle: the older index's database would stay open until a full collection
            if self._replaced is not None:
                self._replaced.close()

    async def _take(self, running: int, clock: Callable[[], float]) -> None:
        """Take offers as they come, until every source is done or time is up."""
        while running and (clock() < self._deadline or (self._best is None and self._judgements.busy)):
            if clock() >= self._deadline:  # what has arrived is judged, however long it takes
                self._deadline = clock() + self._limits.together
            ends = self._deadline if self._decide_at is None else min(self._decide_at, self._deadline)
            try:
                offer = await asyncio.wait_for(self._arrived.get(), max(0.0, ends - clock()))
            except TimeoutError:
                if clock() < self._deadline and not all(task.done() for task in self._judging.values()):
                    self._decide_at = clock() + self._limits.together
                else:
                    await self._decide(waiting=running)
                continue
            if offer is None:
                running -= 1
                continue
            self._offers.append(offer)
            if offer.accepted is not None and self._decide_at is None and self._is_better(offer.accepted):
                self._decide_at = clock() + self._limits.together
                if self._best is None:
                    further = max(self._limits.further, clock() - self._began)
                    self._deadline = min(self._deadline, clock() + further)
        await self._decide(waiting=0)

    def _wait_for(self, seconds: float) -> None:
        """Give a whole index time to arrive and be judged, if nothing valid has arrived yet."""
        if self._best is None:
            ends = asyncio.get_running_loop().time() + seconds + self._limits.whole / 2
            self._deadline = max(self._deadline, ends)

    async def _decide(self, *, waiting: int) -> None:
        """Use the best valid index there is now, if it is better than the one in use."""
        self._decide_at = None
        while (found := self._best_offer()) is not None:
            offer, accepted = found
            try:
                self._best = await run_aside(partial(self._use, accepted, offer.data))
            except (VerificationError, NotFoundError) as error:
                # It does not continue the one in use, another process was faster, or its file changed or vanished.
                refused = replace(offer, accepted=None, error=error)
                self._offers = [refused if one is offer else one for one in self._offers]
                continue
            if waiting and not self._best.unchanged:
                text = f"index {self._best.position} of {self._best.root.name} is in use; other sources are still asked"
                self._report(Notice("info", text))

    def _best_offer(self) -> tuple[_Offer, Accepted] | None:
        valid = [(offer, offer.accepted) for offer in self._judged() if offer.accepted is not None]
        better = [(offer, accepted) for offer, accepted in valid if self._is_better(accepted)]
        return max(better, key=lambda one: _rank(one[1]), default=None)

    def _use(self, accepted: Accepted, data: IndexSource) -> Accepted:
        if not accepted.unchanged and self._replaced is None:
            with contextlib.suppress(NotFoundError):
                self._replaced = self._store.set_aside(self._publisher.publisher)
        return self._store.store(accepted, data, now=self._now, report=self._report)

    def _is_better(self, accepted: Accepted) -> bool:
        return self._best is None or _rank(accepted) > _rank(self._best)

    def _judged(self) -> list[_Offer]:
        return _refuse_contradictions(self._offers, None if self._best is None else self._best.digest)

    def _own(self) -> bytes:
        return durable.read(self._store.index_path(self._publisher.publisher), max_bytes=MAX_INDEX_SIZE)

    def _files_of(self, held: Accepted) -> set[Sha256 | None]:
        """Return the SHA-256 of every file known to be the accepted index, however it is formatted."""
        return {file_digest(held), *(one.file for one in self._answers.values() if one.digest == held.digest)}

    def _remember_answers(self, current: Accepted, offers: Sequence[_Offer]) -> None:
        """Keep what mirrors said of the file of the index that is accepted now."""
        digest = current.digest
        agreeing = {one.source for one in offers if one.accepted is not None and one.accepted.digest == digest}
        known = {place: one for place, one in self._answers.items() if one.digest == digest}
        for one in self._asked:
            before = known.get(one.mirror)
            file = self._files.get(one.mirror, None if before is None else before.file)
            file = None if file == file_digest(current) else file
            if one.mirror in agreeing and (one.said or file is not None):
                known[one.mirror] = Answered(digest, file, one.said.etag, one.said.modified)
        with contextlib.suppress(DiskError):  # the next update fetches it whole
            self._store.write_answers(self._publisher.publisher, known)

    async def _contained(self, source: Coroutine[None, None, None]) -> None:
        """Ask a source and signal its end; whatever goes wrong concerns that source alone."""
        try:
            await source
        finally:
            self._arrived.put_nowait(None)

    async def _ask_mirror(self, mirror: str) -> None:
        asked = MirrorIndex(
            self._store,
            self._publisher,
            mirror,
            self._timeouts,
            self._room.for_one(),
            self._judgements,
            self._now,
            self._wait_for,
        )
        self._asked.append(asked)
        try:
            gave = await asked.newest(self._answers.get(mirror))
        except Exception as error:  # noqa: BLE001 - see `_contained`
            self._arrived.put_nowait(_Offer(mirror, error=as_ours(error)))
            return
        match gave:
            case Accepted():
                self._arrived.put_nowait(_Offer(mirror, accepted=gave))
            case _:
                await self._offer(mirror, gave)

    async def _ask_dht(self, route: BundleRoute) -> None:
        offers: list[asyncio.Task[None]] = []

        def take(answer: Answer) -> None:
            if answer.error is not None:
                self._arrived.put_nowait(_Offer(answer.source, error=answer.error))
            elif answer.accepted is not None:
                self._arrived.put_nowait(_Offer(answer.source, accepted=answer.accepted))
            else:
                offers.append(asyncio.create_task(self._offer(answer.source, answer.data)))

        try:
            await route.indexes(self._publisher, self._own, self._judge_delta, take, self._sessions)
            await asyncio.gather(*offers)
        except Exception as error:  # noqa: BLE001 - see `_contained`
            self._arrived.put_nowait(_Offer("dht", error=as_ours(error)))
        finally:
            for task in offers:
                task.cancel()

    async def _judge_delta(self, data: bytes) -> Accepted | None:
        held = self._publisher.accepted
        if held is None:
            return None
        return await self._judgements.delta(
            partial(self._store.judge_delta, data, held, self._publisher.state, now=self._now)
        )

    async def _offer(self, source: str, data: IndexSource) -> None:
        """Judge what a source gave, which takes seconds for a large index, and queue the result."""
        small = isinstance(data, bytes) and len(data) < _SMALL
        digest = digest_of(data) if small else await run_aside(lambda: digest_of(data), leave=0)
        self._files[source] = digest
        if digest not in self._judging:
            offer = _Offer(source, data)
            judge = run_aside(lambda: self._judge_offer(offer, digest), leave=0)
            self._judging[digest] = asyncio.create_task(judge)
        try:
            judged = await asyncio.shield(self._judging[digest])
        except Exception as error:  # noqa: BLE001 - see `_contained`
            judged = _Offer(source, error=as_ours(error))
        self._arrived.put_nowait(replace(judged, source=source))

    def _judge_offer(self, offer: _Offer, digest: Sha256) -> _Offer:
        held, state = self._publisher.accepted, self._publisher.state
        try:
            if held is not None and digest in self._files_of(held):
                return replace(offer, accepted=judge_again(held, state))  # the very file that was accepted
            accepted = self._judgements.run(lambda: self._store.judge(offer.data, state, now=self._now))
        except RefusedError as error:
            evidence = offer.data if isinstance(error, EquivocationError) else b""
            return replace(offer, data=evidence, error=error)
        return replace(offer, accepted=accepted)

    def _add_unfinished(self, seconds: float) -> None:
        """Add the sources that gave nothing in time, and sort all offers into the order of the mirrors."""
        order = {mirror: number for number, mirror in enumerate(self._publisher.mirrors)}
        heard = {offer.source for offer in self._offers}
        pointers = self._route.unfinished if self._route is not None else []
        why = "" if self._best is None else "; there is a valid index"
        for source in (*order, *pointers):
            if source not in heard:
                error = NetworkError(f"{source} returned no index within {seconds:.0f} s{why}")
                self._offers.append(_Offer(source, error=error))
        self._offers.sort(key=lambda offer: order.get(offer.source, len(order)))

    def _finish(self) -> Updated:
        """Keep evidence, report how each source did, and read what is trusted now."""
        store, publisher, report, best = self._store, self._publisher, self._report, self._best
        before = None if self._replaced is None else self._replaced.source()
        offers = self._judged()
        if best is None and (ours := next((one for one in map(_own_fault, offers) if one is not None), None)):
            raise ours
        for offer in offers:
            if isinstance(offer.error, EquivocationError):
                keep_evidence(store, publisher.publisher, offer.data, offer.error, report, before=before)
        results = tuple(_judge(offer, best) for offer in offers)
        for result in results:
            if result.state in {SourceState.REFUSED, SourceState.UNREACHABLE, SourceState.BEHIND}:
                report(Notice("warning", f"{result.source} is {result.state}: {result.detail}"))
        if best is not None and publisher.accepted is None:
            text = f"no index of {publisher.publisher} was held; index {best.position} rests on the pinned id alone"
            report(Notice("info", text))
        current = store.get(publisher.publisher, now=self._now, report=report)
        if current.accepted is not None:
            self._remember_answers(current.accepted, offers)
        _tell_new_roots(publisher, current, report)
        _tell_withdrawn(publisher, current, report)
        if self._route is not None:
            self._route.settle(current.accepted)
        if current.accepted is not None:
            _tell_age(current.accepted, report)
        return Updated(current, best is not None and not best.unchanged, results)


def _refuse_contradictions(offers: list[_Offer], in_use: Sha256 | None) -> list[_Offer]:
    """Refuse any two valid offers with different roots or indexes at one place in the publisher's history.

    The index in use stays in use; an offer that contradicts it is still refused.
    """
    lying: dict[Sha256, EquivocationError] = {}
    distinct = {one.accepted.digest: one.accepted for one in offers if one.accepted is not None}
    for one, other in itertools.combinations(distinct.values(), 2):
        if (error := _contradiction(one, other)) is not None:
            lying[one.digest] = lying[other.digest] = error
    if in_use is not None:
        lying.pop(in_use, None)
    return [
        replace(offer, accepted=None, error=lying[offer.accepted.digest])
        if offer.accepted is not None and offer.accepted.digest in lying
        else offer
        for offer in offers
    ]


def _contradiction(one: Accepted, other: Accepted) -> EquivocationError | None:
    hint = "ask the publisher: a key may be stolen; both files are kept as evidence"
    for mine, theirs in zip(one.roots, other.roots, strict=False):
        if mine.root.digest != theirs.root.digest:
            what = f"two sources have two different roots {mine.root.version} of the publisher"
            return EquivocationError(3, what, expected=mine.root.digest, got=theirs.root.digest, hint=hint)
    if one.position == other.position and one.digest != other.digest:
        what = f"two sources have two different indexes {one.position} of the publisher"
        return EquivocationError(6, what, expected=one.digest, got=other.digest, hint=hint)
    return None


def _rank(accepted: Accepted) -> tuple[int, Position]:
    """Order valid indexes: the newest root first (section 8 of the SPEC)."""
    return accepted.root.version, accepted.position


def _own_fault(offer: _Offer) -> RowsNotWrittenError | None:
    return offer.error if isinstance(offer.error, RowsNotWrittenError) else None


def _judge(offer: _Offer, best: Accepted | None) -> SourceResult:
    match offer.error:
        case RefusedError(step=step) as error:
            return SourceResult(offer.source, SourceState.REFUSED, error.message, step)
        case VerificationError() as error:  # too large, or in a content encoding
            return SourceResult(offer.source, SourceState.REFUSED, error.message, 1)
        case P2pqwenError() as error:
            return SourceResult(offer.source, SourceState.UNREACHABLE, error.message)
    if offer.accepted is None or best is None:
        return SourceResult(offer.source, SourceState.UNREACHABLE, "not judged")
    if offer.accepted.digest == best.digest:
        state = SourceState.UNCHANGED if best.unchanged else SourceState.NEWER
        return SourceResult(offer.source, state, f"index {best.position}")
    try:
        judge_again(offer.accepted, best.state)
    except RollbackError as error:
        return SourceResult(offer.source, SourceState.BEHIND, error.message, error.step)
    except RefusedError as error:
        return SourceResult(offer.source, SourceState.REFUSED, error.message, error.step)
    return SourceResult(offer.source, SourceState.BEHIND, f"index {offer.accepted.position}")


def _tell_new_roots(before: TrustedPublisher, now: TrustedPublisher, report: Report) -> None:
    """Report who may sign from now on: the publisher's keys agreed to it, and readers should know."""
    roots = [signed.root for signed in now.state.roots]
    known = before.root.version if before.root is not None else len(roots)
    for old, new in itertools.pairwise(roots):
        if new.version > known:
            report(Notice("info", f"{old.name} has a new root, {new.version}:"))
            for line in describe_change(old, new):
                report(Notice("info", f"  {line}"))


def _tell_withdrawn(before: TrustedPublisher, now: TrustedPublisher, report: Report) -> None:
    """Report new withdrawals: nothing is deleted for them, and holders may want to know why."""
    if before.accepted is None or now.document is None:
        return  # nothing of this publisher was here before
    known = {one.id for one in before.accepted.document.withdrawn}
    fresh = [one for one in now.document.withdrawn if one.id not in known]
    for one in fresh[:MAX_TOLD]:
        report(Notice("warning", f"{now.name} has withdrawn {one.id}: {one.reason or 'no reason given'}"))
    if len(fresh) > MAX_TOLD:
        report(Notice("warning", f"{now.name} has withdrawn {len(fresh) - MAX_TOLD} more snapshots"))


def _tell_age(accepted: Accepted, report: Report) -> None:
    if accepted.age_days > STALE_DAYS:
        report(Notice("info", f"the index of {accepted.root.name} was last signed {accepted.age_days} days ago"))
    elif accepted.age_days < -1:
        report(Notice("info", f"the index of {accepted.root.name} was signed in the future; is the clock right?"))
