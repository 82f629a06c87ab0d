"""Pin a publisher, and stop trusting one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from p2pqwen.errors import VerificationError, about
from p2pqwen.events import Report, ignore
from p2pqwen.index.acceptance import Accepted, EquivocationError, TrustedState, judge_again
from p2pqwen.index.pointer import Pointer
from p2pqwen.index.publisher_link import PublisherLink
from p2pqwen.library.index_rows.judging import let_go
from p2pqwen.library.trust_store import Answered, TrustedPublisher, TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes.equivocation import keep_evidence
from p2pqwen.operations.indexes.mirror_index import Brought, judged_at
from p2pqwen.values.digest import Sha256
from p2pqwen.values.named_hosts import NamedHosts

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.bundle_route import (
        BundleRoute,  # imports libtorrent, which adding by id does not need
    )


def add_publisher(
    store: TrustStore, publisher: Sha256, source: Location | None, *, now: datetime, report: Report = ignore
) -> TrustedPublisher:
    """Pin a publisher id and remember where its index is; an index at `source` must be accepted first.

    If it is not, nothing is pinned; for a publisher pinned earlier, a contradiction is kept as evidence. Raises
    `RefusedError`, `NotFoundError`, `NetworkError`, `DiskError`.
    """
    if source is None:
        store.pin(publisher)
        return store.get(publisher, now=now, report=report)
    known = store.is_trusted(publisher)
    trusted = store.get(publisher, now=now, report=report).state if known else TrustedState(publisher)
    named = store.named_hosts | NamedHosts.of([source.text])
    with judged_at(store, source, named, trusted, now=now, report=report) as found:
        with _evidence(store, publisher, found, report), about(source.text):
            accepted = found.judged()
        _keep(store, accepted, found, source, now, report)
    return store.get(publisher, now=now, report=report)


def add_signer(
    store: TrustStore,
    source: Location,
    confirm: Callable[[Accepted], object],
    *,
    now: datetime,
    report: Report = ignore,
) -> TrustedPublisher:
    """Pin the publisher that signed the index at `source`, as `add_publisher` does.

    `confirm` is first called with the index, which is valid in itself. If it raises, nothing is pinned.
    """
    named = store.named_hosts | NamedHosts.of([source.text])
    with judged_at(store, source, named, TrustedState(None), now=now, report=report) as found:
        with about(source.text):
            accepted = found.judged()
        try:
            confirm(accepted)
            publisher = accepted.publisher
            if store.is_trusted(publisher):
                trusted = store.get(publisher, now=now, report=report).state
                with _evidence(store, publisher, found, report), about(source.text):
                    accepted = judge_again(accepted, trusted)
        except BaseException:
            let_go(accepted)
            raise
        _keep(store, accepted, found, source, now, report)
    return store.get(publisher, now=now, report=report)


@contextlib.contextmanager
def _evidence(store: TrustStore, publisher: Sha256, found: Brought, report: Report) -> Iterator[None]:
    """Keep as evidence an index that the block refuses because it contradicts another."""
    try:
        yield
    except EquivocationError as error:
        keep_evidence(store, publisher, found.source, error, report)
        raise


def _keep(
    store: TrustStore, accepted: Accepted, found: Brought, source: Location, now: datetime, report: Report
) -> None:
    """Pin a publisher with the index that was fetched."""
    publisher = accepted.publisher
    try:
        store.pin(publisher, (source.text,))
        kept = store.store(accepted, found.source, now=now, report=report)
        if found.said:  # the first update need not fetch it all again
            said = Answered(kept.digest, None, found.said.etag, found.said.modified)
            store.write_answers(publisher, {**store.answers(publisher), source.text: said})
    finally:
        let_go(accepted)


def add_by_link(
    store: TrustStore, link: PublisherLink, route: BundleRoute, *, now: datetime, report: Report = ignore
) -> TrustedPublisher:
    """Pin the publisher a link leads to, with the index that their pointer names; nothing is pinned when that fails.

    A link with a publisher id must lead to that publisher. One without is as good as its key: the key signed the
    pointer, which names the index by its digest, and it must have signed that index too. Raises `RefusedError`,
    `VerificationError`, `NotFoundError`, `NetworkError`, `DiskError`.
    """
    trusted = TrustedState(link.publisher)
    if link.publisher is not None and store.is_trusted(link.publisher):
        trusted = store.get(link.publisher, now=now, report=report).state
    accepted: Accepted | None = None
    try:
        pointer, data = run_now(route.index_of(link.address))
        accepted = _linked(link, pointer, store.judge(data, trusted, now=now, report=report))
        store.pin(accepted.publisher)
        store.store(accepted, data, now=now, report=report)
    finally:
        route.settle(accepted)
    return store.get(accepted.publisher, now=now, report=report)


def _linked(link: PublisherLink, pointer: Pointer, accepted: Accepted) -> Accepted:
    """Return the index if its pointer names it and, for a link without a publisher id, the link's key signed it."""
    keyid = link.address.public.keyid
    if accepted.digest != pointer.digest:
        raise VerificationError(
            "the bundle holds another index than its pointer names", expected=pointer.digest, got=accepted.digest
        )
    if link.publisher is None and keyid not in accepted.signers.signed_by:
        raise VerificationError("the key of the link did not sign the index it leads to", expected=keyid)
    return accepted
