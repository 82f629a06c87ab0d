"""Whom this home trusts now, in the form that `index.standing.judge` takes: its own publisher and those it pinned.

Every question looks again, so a publisher that is no longer trusted stops vouching at once. Files are read again only
when one changed, because an index may hold 100,000 entries.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.root import Root
from p2pqwen.index.voice import Voice
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.trust_store import TrustedPublisher, TrustStore
from p2pqwen.operations.indexes.own_index import last_published
from p2pqwen.values.digest import Sha256

_Look = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A publisher with its newest root and index; the index is None before the first."""

    publisher: Sha256
    root: Root
    accepted: Accepted | None


class Vouchers:
    """The publishers that vouch for snapshots here; thread-safe."""

    def __init__(self, trust: TrustStore, keys: KeyStore) -> None:
        self._trust, self._keys = trust, keys
        self._lock = threading.Lock()
        self._known: tuple[_Look, tuple[TrustedPublisher, ...], tuple[Voice, ...]] | None = None

    def publishers(self, report: Report = ignore) -> tuple[TrustedPublisher, ...]:
        """Return the trusted publishers as last accepted; damage is reported when it is first found."""
        return self._read(report)[0]

    def voices(self, report: Report = ignore) -> tuple[Voice, ...]:
        """Return whom this home trusts; the same object while nothing changed."""
        return self._read(report)[1]

    def _read(self, report: Report) -> tuple[tuple[TrustedPublisher, ...], tuple[Voice, ...]]:
        with self._lock:
            look = self._look()
            if self._known is None or self._known[0] != look:
                now = datetime.now(UTC)
                publishers = tuple(self._trust.publishers(now=now, report=report))
                self._known = look, publishers, tuple(_voices(publishers, self._own(now, report)))
            return self._known[1], self._known[2]

    def _look(self) -> _Look:
        own = (self._keys.roots_path, self._keys.published_path)
        return tuple(map(_stat, (*own, *(self._trust.index_path(one) for one in self._trust.ids()))))

    def _own(self, now: datetime, report: Report) -> _Known | None:
        if not self._keys.exists:
            return None
        try:
            return _Known(self._keys.publisher(), self._keys.root(), last_published(self._keys, now))
        except P2pqwenError as error:
            report(Notice("warning", error.message))
            return None


def _voices(publishers: Sequence[TrustedPublisher], own: _Known | None) -> Iterable[Voice]:
    trusted = {
        one.publisher: _Known(one.publisher, one.root, one.accepted) for one in publishers if one.root is not None
    }
    if own is not None:
        pinned = trusted.get(own.publisher, own)
        known = [one for one in (own.accepted, pinned.accepted) if one is not None]
        root = max((own.root, pinned.root), key=lambda one: one.version)
        newest = max(known, key=lambda one: one.position, default=None)
        trusted[own.publisher] = _Known(own.publisher, root, newest)
    for publisher, one in sorted(trusted.items()):
        document = None if one.accepted is None else one.accepted.document
        yield Voice.of(publisher, one.root, document, own=own is not None and publisher == own.publisher)


def _stat(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_size, found.st_ino, found.st_mtime_ns
