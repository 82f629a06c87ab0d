"""Keep the proof that a publisher's keys signed two histories, and say so loudly."""

from __future__ import annotations

from p2pqwen.events import Notice, Report
from p2pqwen.index.acceptance import EquivocationError
from p2pqwen.library.index_source import IndexSource
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.values.digest import Sha256


def keep_evidence(
    store: TrustStore,
    publisher: Sha256,
    data: IndexSource,
    error: EquivocationError,
    report: Report,
    *,
    before: IndexSource | None = None,
) -> None:
    """Keep a refused index file and the accepted one it contradicts; raises `DiskError`.

    `before`: the index in use when the file was judged, if a newer one has replaced it since.
    """
    kept = " and ".join(str(path) for path in store.keep_evidence(publisher, data, before=before))
    report(Notice("warning", f"{error.message}. evidence: {kept or 'enough is kept already, this file was not'}"))
