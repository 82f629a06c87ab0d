"""Pin a publisher, and stop trusting one."""

from __future__ import annotations

from datetime import datetime

from p2pqwen.events import Report, ignore
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.library.trust_store import TrustedPublisher, TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.mirrors.reading import read_now
from p2pqwen.values.digest import Sha256


def add_publisher(
    store: TrustStore, publisher: Sha256, source: Location | None, *, now: datetime, report: Report = ignore
) -> TrustedPublisher:
    """Pin a publisher id and remember where its index is; an index that is given is accepted first.

    When that fails nothing is pinned. Raises `RefusedError`, `NotFoundError`, `NetworkError`, `DiskError`.
    """
    if source is None:
        store.pin(publisher)
        return store.get(publisher, now=now, report=report)
    data = read_now(source.index, max_bytes=MAX_INDEX_SIZE)
    known = store.is_trusted(publisher)
    trusted = store.get(publisher, now=now, report=report).state if known else TrustedState(publisher)
    accepted = accept(data, trusted, now)
    store.pin(publisher, (source.text,))
    store.store(accepted, data, now=now)
    return store.get(publisher, now=now, report=report)
