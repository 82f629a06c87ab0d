"""Indexes of this home's publisher that readers may have, though this home does not remember publishing them.

A home whose records are lost, or come from an old backup, would sign another index for a position that readers have
seen: equivocation by mistake. Before it signs, it therefore looks at what it accepted as a reader and at its mirrors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from p2pqwen.containment import each_at_once
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.index.acceptance import Accepted, RefusedError, TrustedState
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.library.index_rows.judging import accept_apart
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.mirrors.location import Location
from p2pqwen.mirrors.reading import Timeouts, read
from p2pqwen.operations.indexes.own_index import last_published
from p2pqwen.values.named_hosts import NamedHosts

TIMEOUTS = Timeouts(answer=5.0, total=30.0)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An index of this home's publisher, and where it is."""

    accepted: Accepted
    place: str


def accepted_here(keys: KeyStore, trust: TrustStore, now: datetime) -> Elsewhere | None:
    """Return the index of this home's publisher that it accepted as a reader, if it trusts that publisher."""
    publisher = keys.publisher() if keys.exists else None
    if publisher is None or not trust.is_trusted(publisher):
        return None
    accepted = trust.get(publisher, now=now).accepted
    return None if accepted is None else Elsewhere(accepted, str(trust.index_path(publisher)))


def look_elsewhere(
    keys: KeyStore, trust: TrustStore, mirrors: Iterable[str] | None, *, now: datetime, report: Report
) -> tuple[Elsewhere, ...]:
    """Return what readers may have: the index accepted here and, unless `mirrors` is None, those on mirrors.

    The mirrors that the last index names are asked too. Raises `NotFoundError` if this home has no publisher,
    `VerificationError` if its records are damaged.
    """
    here, last = accepted_here(keys, trust, now), last_published(keys, now)
    found = [] if here is None else [here]
    if mirrors is not None:
        named = last.document.mirrors if last is not None else ()
        found += _on_mirrors(keys, (*mirrors, *named), now, report)
    return tuple(found)


def _on_mirrors(keys: KeyStore, mirrors: Iterable[str], now: datetime, report: Report) -> list[Elsewhere]:
    """Return the valid indexes that mirrors hold, under this home's newest root or a newer one; report others."""
    roots = keys.roots()
    trusted = TrustedState(roots[0].root.digest, roots)
    asked = tuple(dict.fromkeys(mirrors))
    named = NamedHosts.of(asked)  # the publisher is the user

    async def ask(mirror: str) -> Elsewhere:
        data = await read(Location(mirror).index, max_bytes=MAX_INDEX_SIZE, named=named, timeouts=TIMEOUTS)
        return Elsewhere(await asyncio.to_thread(accept_apart, data, trusted, now), mirror)

    def failed(mirror: str, error: P2pqwenError) -> None:
        how = "" if isinstance(error, RefusedError) else " was not looked at"
        report(Notice("info", f"mirror {mirror}{how}: {error.message}"))

    return run_now(each_at_once(asked, ask, failed=failed))
