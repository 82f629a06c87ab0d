"""Ask every mirror of a trusted publisher for a newer index, and the DHT, all at once; take the highest valid one.

A mirror that is broken, lying, slow or frozen is reported and blocks nobody. Two valid indexes that contradict each
other are both refused and both kept as evidence; the trusted copy stays in use whatever happens.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted, EquivocationError, RefusedError, RollbackError, TrustedState, accept
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.index.rotation import describe_change
from p2pqwen.library import durable
from p2pqwen.library.trust_store import TrustedPublisher, TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.mirrors.reading import PATIENCE, Patience, read
from p2pqwen.operations.evidence import keep_evidence
from p2pqwen.values.digest import Sha256
from p2pqwen.values.named_hosts import NamedHosts

if TYPE_CHECKING:
    from p2pqwen.operations.bundle_route import BundleRoute  # brings libtorrent, which most updates do without

STALE_DAYS = 90
BUNDLES_AT_ONCE = 2  # each is a session of its own


class SourceState(enum.StrEnum):
    """What one mirror's answer was worth."""

    NEWER = "newer"
    UNCHANGED = "unchanged"
    BEHIND = "behind"  # valid for what was trusted before, but another mirror has a newer one
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class SourceResult:
    """One mirror and what came of asking it; `step` is the rule of acceptance that refused it."""

    source: str
    state: SourceState
    detail: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """The outcome for one publisher: what is trusted now, whether that is new, and every mirror's part in it."""

    publisher: TrustedPublisher
    changed: bool
    sources: tuple[SourceResult, ...]

    @property
    def reached(self) -> bool:
        """Whether any mirror answered."""
        return any(one.state is not SourceState.UNREACHABLE for one in self.sources)

    @property
    def ok(self) -> bool:
        """Whether any mirror's answer was valid."""
        good = {SourceState.NEWER, SourceState.UNCHANGED, SourceState.BEHIND}
        return any(one.state in good for one in self.sources)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A mirror's answer: bytes, and what acceptance said about them."""

    source: str
    data: bytes
    accepted: Accepted | None = None
    error: P2pqwenError | None = None


def update(
    store: TrustStore,
    publisher: TrustedPublisher,
    *,
    now: datetime,
    patience: Patience = PATIENCE,
    route: BundleRoute | None = None,
    report: Report = ignore,
) -> Updated:
    """Ask all of a publisher's mirrors and, by `route`, the DHT and peers; raises `DiskError` only."""
    (updated,) = update_all(store, [Asked(publisher, route)], now=now, patience=patience, report=report)
    return updated


@dataclass(frozen=True, slots=True)
class Asked:
    """A publisher to ask about, and the way to its bundles: one of its own, it remembers what it found."""

    publisher: TrustedPublisher
    route: BundleRoute | None = None


def update_all(
    store: TrustStore,
    wanted: Sequence[Asked],
    *,
    now: datetime,
    patience: Patience = PATIENCE,
    report: Report = ignore,
) -> list[Updated]:
    """Do what `update` does for several publishers; all their mirrors are asked at once. Raises `DiskError` only."""

    async def ask() -> list[list[_Offer]]:
        bundles = asyncio.Semaphore(BUNDLES_AT_ONCE)
        return await asyncio.gather(*(_ask_all(store, one, now, patience, bundles) for one in wanted))

    offers = asyncio.run(ask())
    return [_settle(store, one, answers, now, report) for one, answers in zip(wanted, offers, strict=True)]


def _settle(store: TrustStore, asked: Asked, offers: list[_Offer], now: datetime, report: Report) -> Updated:
    publisher = asked.publisher
    offers = _refuse_contradictions(_accept_each(offers, publisher.state, now))
    for offer in offers:
        if isinstance(offer.error, EquivocationError):
            keep_evidence(store, publisher.publisher, offer.data, offer.error, report)
    offers, best = _store_best(store, offers, now)
    results = tuple(_judge(offer, best, now) for offer in offers)
    for result in results:
        if result.state in {SourceState.REFUSED, SourceState.UNREACHABLE, SourceState.BEHIND}:
            report(Notice("warning", f"{result.source} is {result.state}: {result.detail}"))
    if best is not None and publisher.accepted is None:
        text = f"no index of {publisher.publisher} was held here; index {best.position} stands on the pinned id alone"
        report(Notice("info", text))
    current = store.get(publisher.publisher, now=now, report=report)
    _tell_new_roots(publisher, current, report)
    if asked.route is not None:
        asked.route.settle(current.accepted)
    if current.accepted is not None:
        _tell_age(current.accepted, report)
    changed = best is not None and not best.unchanged
    return Updated(current, changed, results)


async def _ask_all(
    store: TrustStore, asked: Asked, now: datetime, patience: Patience, bundles: asyncio.Semaphore
) -> list[_Offer]:
    """Collect the answers, not judged yet: that takes seconds for a large index, in which nothing would be read."""
    mirrors = asyncio.gather(*(_ask(mirror, asked.publisher.named, patience) for mirror in asked.publisher.mirrors))
    from_mirrors, from_dht = await asyncio.gather(mirrors, _ask_dht(store, asked, now, bundles))
    return [*from_mirrors, *from_dht]


def _accept_each(offers: list[_Offer], trusted: TrustedState, now: datetime) -> list[_Offer]:
    judged: dict[Sha256, _Offer] = {}  # most mirrors hold the same bytes
    results = []
    for offer in offers:
        if offer.error is not None:
            results.append(offer)
            continue
        digest = Sha256.of(offer.data)
        if digest not in judged:
            judged[digest] = _accept(offer, trusted, now)
        results.append(replace(judged[digest], source=offer.source))
    return results


async def _ask_dht(store: TrustStore, asked: Asked, now: datetime, bundles: asyncio.Semaphore) -> list[_Offer]:
    publisher, route = asked.publisher, asked.route
    if route is None:
        return []

    def own() -> bytes:
        return durable.read(store.index_path(publisher.publisher), max_bytes=MAX_INDEX_SIZE)

    def is_good(data: bytes) -> bool:
        return _accept(_Offer("", data), publisher.state, now).error is None

    async with bundles:
        answers = await route.indexes(publisher, own, is_good)
    return [_Offer(one.source, one.data, error=one.error) for one in answers]


async def _ask(mirror: str, named: NamedHosts, patience: Patience) -> _Offer:
    try:
        data = await read(Location(mirror).index, max_bytes=MAX_INDEX_SIZE, named=named, patience=patience)
    except P2pqwenError as error:
        return _Offer(mirror, b"", error=error)
    return _Offer(mirror, data)


def _accept(offer: _Offer, trusted: TrustedState, now: datetime) -> _Offer:
    try:
        return replace(offer, accepted=accept(offer.data, trusted, now))
    except RefusedError as error:
        return replace(offer, error=error)


def _refuse_contradictions(offers: list[_Offer]) -> list[_Offer]:
    """Refuse every two valid offers that name another root or index at one place in the publisher's history."""
    lying: dict[str, EquivocationError] = {}
    for one, other in itertools.combinations(offers, 2):
        if one.accepted and other.accepted and (error := _contradiction(one.accepted, other.accepted)):
            lying[one.source] = lying[other.source] = error
    return [
        replace(offer, accepted=None, error=lying[offer.source]) if offer.source in lying else offer for offer in offers
    ]


def _contradiction(one: Accepted, other: Accepted) -> EquivocationError | None:
    hint = "ask the publisher; a key may be stolen. both files are kept as evidence"
    for mine, theirs in zip(one.roots, other.roots, strict=False):
        if mine.root.digest != theirs.root.digest:
            what = f"two mirrors have two different roots {mine.root.version} of the publisher"
            return EquivocationError(3, what, expected=mine.root.digest, got=theirs.root.digest, hint=hint)
    if one.position == other.position and one.digest != other.digest:
        what = f"two mirrors have two different indexes {one.position} of the publisher"
        return EquivocationError(6, what, expected=one.digest, got=other.digest, hint=hint)
    return None


def _store_best(store: TrustStore, offers: list[_Offer], now: datetime) -> tuple[list[_Offer], Accepted | None]:
    valid = [(offer, offer.accepted) for offer in offers if offer.accepted is not None]
    if not valid:
        return offers, None
    best, accepted = max(valid, key=lambda one: (one[1].root.version, one[1].position))
    try:
        return offers, store.store(accepted, best.data, now=now)
    except RefusedError as error:  # another process accepted a newer one since we began
        refused = [replace(offer, accepted=None, error=error) if offer is best else offer for offer in offers]
        return refused, None


def _judge(offer: _Offer, best: Accepted | None, now: datetime) -> SourceResult:
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
        accept(offer.data, best.state, now)
    except RollbackError as error:
        return SourceResult(offer.source, SourceState.BEHIND, error.message, error.step)
    except RefusedError as error:
        return SourceResult(offer.source, SourceState.REFUSED, error.message, error.step)
    return SourceResult(offer.source, SourceState.BEHIND, f"index {offer.accepted.position}")


def _tell_new_roots(before: TrustedPublisher, now: TrustedPublisher, report: Report) -> None:
    """Say who may sign from now on: the publisher's keys agreed to it, and his readers should know."""
    roots = [signed.root for signed in now.state.roots]
    known = before.root.version if before.root is not None else len(roots)
    for old, new in itertools.pairwise(roots):
        if new.version > known:
            report(Notice("info", f"{old.name} has a new root, {new.version}:"))
            for line in describe_change(old, new):
                report(Notice("info", f"  {line}"))


def _tell_age(accepted: Accepted, report: Report) -> None:
    if accepted.age_days > STALE_DAYS:
        report(Notice("info", f"the index of {accepted.root.name} was last signed {accepted.age_days} days ago"))
    elif accepted.age_days < -1:
        report(Notice("info", f"the index of {accepted.root.name} was signed in the future; is the clock right?"))
